"""Build the documentation site, its Markdown twins and ``llms.txt``, and check every link within it.

python docs/tools/site.py              # build docs/_build/html; any warning fails
python docs/tools/site.py --check      # only check and weigh what was built
"""

import re
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sphinx.cmd.build import main as sphinx_build

DOCS = Path(__file__).resolve().parents[1]
BUILD = DOCS / "_build"
HTML, MARKDOWN = BUILD / "html", BUILD / "markdown"
OPTIONS = ("-W", "--keep-going", "-q", "-j1", "-d", str(BUILD / "doctrees"))
INTRODUCTION = """# thinned

> Dropout for PyTorch: reproducible masks at memory speed, and a study that tells whether dropout helps your network on
> your data. Four verbs: study, audit, ensemble, apply. Each page below is the Markdown twin of a page of the site.
"""


class Page(HTMLParser):
    """The places and the links of an HTML page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.places: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect ``id``, ``href`` and ``src``."""
        values = {name: value for name, value in attrs if value}
        self.places |= {values[name] for name in ("id", "name") if name in values}
        if tag in {"img", "script"} or values.get("rel") in {"stylesheet", "icon"}:
            self.loaded += [values[name] for name in ("src", "href") if name in values]
        self.links += [values[name] for name in ("href", "src") if name in values]


def build() -> None:
    """Run Sphinx for the site and for the twins."""
    for builder, folder in (("html", HTML), ("markdown", MARKDOWN)):
        if status := sphinx_build(["-b", builder, *OPTIONS, str(DOCS), str(folder)]):
            raise SystemExit(status)


def twins() -> list[Path]:
    """Put a Markdown twin beside each page; return those twins, relative to the site."""
    found = []
    for path in sorted(MARKDOWN.rglob("*.md")):
        relative = path.relative_to(MARKDOWN)
        if (HTML / relative).with_suffix(".html").exists():
            source = DOCS / relative
            text = source.read_text("utf-8") if source.exists() else ""
            plain = text and "```{" not in text and "{doc}`" not in text
            built = re.sub(r"<!--.*?-->\n+", "", path.read_text("utf-8"))
            (HTML / relative).write_text(text if plain else built, "utf-8")
            found.append(relative)
    return found


def summary(text: str) -> tuple[str, str]:
    """The title of a Markdown page, and the first sentence of its first paragraph."""
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    blocks = [block for block in text.split("\n\n") if block[:1].isalpha() or block.startswith(("*", "`", "["))]
    sentence = re.split(r"(?<=[.:?])\s", " ".join(blocks[0].split()), maxsplit=1)[0] if blocks else ""
    return (title[1] if title else ""), re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", sentence)


def order() -> list[str]:
    """The names of all pages in the order of the toctrees."""
    pages, done = ["index"], list[str]()
    while pages:
        name = pages.pop(0)
        source = next((DOCS / f"{name}{end}" for end in (".md", ".rst") if (DOCS / f"{name}{end}").exists()), None)
        if name in done or source is None:
            continue
        done.append(name)
        trees = re.findall(
            r"(?:^```\{toctree\}|^\.\. toctree::)\n(.*?)(?:^```$|^\S|\Z)",
            source.read_text("utf-8"),
            re.DOTALL | re.MULTILINE,
        )
        entries = [
            line.strip()
            for tree in trees
            for line in tree.splitlines()
            if line.strip() and not line.strip().startswith(":")
        ]
        folder = name.rpartition("/")[0]
        pages = [_resolved(folder, entry) for entry in entries] + pages
    return done


def _resolved(folder: str, entry: str) -> str:
    entry = re.sub(r"^.*<(.*)>$", r"\1", entry)
    if entry.startswith("/"):
        return entry[1:]
    return str((DOCS / folder / entry).resolve().relative_to(DOCS))


def llms(pages: list[Path]) -> str:
    """The text of ``llms.txt``: every page with its first sentence, in the order of the site."""
    ordered = [name for name in order() if Path(f"{name}.md") in pages]
    lines = [INTRODUCTION]
    for name in [
        *ordered,
        *sorted(str(path.with_suffix("")) for path in pages if str(path.with_suffix("")) not in ordered),
    ]:
        title, sentence = summary((HTML / f"{name}.md").read_text("utf-8"))
        if name.endswith("/index") or name == "evidence/index":
            lines.append(f"\n## {title}\n")
        lines.append(f"- [{title}]({name}.md): {sentence}")
    return "\n".join(lines) + "\n"


def broken() -> Iterator[str]:
    """The links within the site that lead nowhere. Pages of other sites are not asked."""
    pages = {path: Page(path.read_text("utf-8")) for path in HTML.rglob("*.html") if "_static" not in path.parts}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                yield f"{path.relative_to(HTML)}: {link} does not exist"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].places:
                yield f"{path.relative_to(HTML)}: {link} has no such place"


def weight(path: Path) -> tuple[int, int]:
    """Bytes of a page, and of the page with all it loads."""
    loaded = {(path.parent / urlsplit(link).path).resolve() for link in Page(path.read_text("utf-8")).loaded}
    own = path.stat().st_size
    return own, own + sum(file.stat().st_size for file in loaded if file.is_file())


def main() -> int:
    """Build, write the twins, check, and say how much it weighs."""
    start = time.perf_counter(), time.process_time()
    if "--check" not in sys.argv:
        build()
        pages = twins()
        (HTML / "llms.txt").write_text(llms(pages), "utf-8")
        sys.stdout.write(
            f"built in {time.perf_counter() - start[0]:.0f} s, {time.process_time() - start[1]:.0f} s of one core\n"
        )
    found = list(broken())
    sys.stderr.write("".join(f"{line}\n" for line in found))
    for name in ("index", "tutorials/first_study", "reference/thinned", "evidence/README"):
        own, whole = weight(HTML / f"{name}.html")
        sys.stdout.write(f"{name}: {own / 1000:,.0f} kB, {whole / 1000:,.0f} kB with all it loads\n")
    total = sum(path.stat().st_size for path in HTML.rglob("*") if path.is_file())
    count = sum(1 for _ in HTML.rglob("*.html"))
    sys.stdout.write(f"{count} pages, {total / 1e6:.1f} MB in all, {len(found)} broken links\n")
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
