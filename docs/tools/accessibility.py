"""Look for accessibility faults on pages of the site, and photograph them, with Chromium and axe-core.

npm install axe-core
python docs/tools/accessibility.py node_modules/axe-core/axe.min.js [--pictures FOLDER] [PAGE ...]

PAGE is a path below docs/_build/html. Serious and critical faults fail. A page is looked at in both colour schemes and
at 1280 and 390 pixels; that it is wider than the window is a fault, too.
"""

import argparse
import base64
import json
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from browser import Browser  # noqa: E402

HTML = ROOT / "docs" / "_build" / "html"
PAGES = (
    "index.html",
    "tutorials/index.html",
    "tutorials/first_study.html",
    "reference/thinned.html",
    "evidence/README.html",
    "reports/first_study.html",
)
RUN = "axe.run(document, {resultTypes: ['violations']}).then(found => JSON.stringify(found.violations))"


def show(browser: Browser, page: Path, width: int, scheme: str) -> None:
    """Open a page, and wait until it is whole."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.call("Emulation.setDeviceMetricsOverride", **metrics)
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.call("Page.navigate", url=page.as_uri())
    end = time.monotonic() + 60
    while browser.value("document.readyState") != "complete" or browser.value("location.href") == "about:blank":
        if time.monotonic() > end:
            raise TimeoutError(page)
        time.sleep(0.1)
    time.sleep(1)  # charts and the theme's scripts


def faults(browser: Browser, axe: str) -> list[str]:
    """What axe-core finds serious on the page that is shown, and what does not fit the window."""
    browser.value(f"{axe}; 0")
    found = [one for one in json.loads(browser.value(RUN)) if one["impact"] in {"serious", "critical"}]
    lines = [f"{one['impact']} {one['id']}: {node['html'][:160]}" for one in found for node in one["nodes"]]
    wide = browser.value("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return [*lines, *([f"{wide} pixels wider than the window"] if wide > 0 else [])]


def main() -> int:
    """Look at the pages."""
    parser = argparse.ArgumentParser()
    parser.add_argument("axe", type=Path)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("pages", nargs="*", default=PAGES)
    arguments = parser.parse_intermixed_args()
    axe, number = arguments.axe.read_text("utf-8"), 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(Path(profile))
        for page in arguments.pages:
            for width, scheme in ((1280, "light"), (390, "light"), (1280, "dark")):
                show(browser, HTML / page, width, scheme)
                if arguments.pictures:
                    arguments.pictures.mkdir(parents=True, exist_ok=True)
                    shot = browser.call("Page.captureScreenshot", format="png")
                    name = f"{page.replace('/', '-').removesuffix('.html')}-{width}-{scheme}.png"
                    (arguments.pictures / name).write_bytes(base64.b64decode(shot["data"]))
                found = faults(browser, axe)
                number += len(found)
                sys.stdout.write("".join(f"{line}\n" for line in [f"{page} {width} {scheme}: {len(found)}", *found]))
        browser.close()
    return bool(number)


if __name__ == "__main__":
    raise SystemExit(main())
