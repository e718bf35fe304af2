"""Photographs the top of a report for the documents, with Chromium: ``python docs/tools/report.py runs/churn``."""

import base64
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from browser import Browser  # noqa: E402

WIDTH, HEIGHT = 1000, 1810


def main(folder: str) -> None:
    """Write docs/images/report.png."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(Path(profile))
        browser.show((Path(folder) / "report.html").resolve(), WIDTH)
        clip = {"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT, "scale": 1}
        shot = browser.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        browser.close()
    (ROOT / "docs" / "images" / "report.png").write_bytes(base64.b64decode(shot["data"]))


if __name__ == "__main__":
    main(sys.argv[1])
