"""Build the documentation site, its Markdown twins and ``llms.txt``, and check every link within it.

python docs/tools/site.py              # build docs/_build/html; any warning fails
python docs/tools/site.py --check      # only check and weigh what was built
"""

import re
import shutil
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sphinx.cmd.build import main as sphinx_build
from tutorial_links import tutorial_links
from twins import ORDER

DOCS = Path(__file__).resolve().parents[1]
BUILD = DOCS / "_build"
HTML, MARKDOWN = BUILD / "html", BUILD / "markdown"
TWIN_LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)")
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
            if not text or "```{" in text:
                text = re.sub(r"<!--.*?-->\n+", "", path.read_text("utf-8"))
            text = re.sub(r"\]\(((?:\.\./)*)\.\./examples/", r"](\1examples/", tutorial_links(text, ".md"))
            (HTML / relative).write_text(text, "utf-8")
            found.append(relative)
    return found


def linked_files() -> Iterator[tuple[Path, str, Path]]:
    """Each file that a twin or ``llms.txt`` links to: the page, the link, and where that leads."""
    for page in (HTML / "llms.txt", *sorted(HTML.rglob("*.md"))):
        text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
        for link in TWIN_LINK.findall(text):
            if not urlsplit(link).scheme:
                yield page, link, (page.parent / unquote(link)).resolve()


def copy_linked() -> None:
    """Copy the pictures, tables and scripts that twins link to, as Sphinx gives them other places."""
    for _, _, target in linked_files():
        if not target.exists() and target.is_relative_to(HTML):
            sources = (folder / target.relative_to(HTML) for folder in (DOCS, DOCS.parent))
            if source := next(filter(Path.is_file, sources), None):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)


def summary(text: str) -> tuple[str, str]:
    """The title of a Markdown page, and the first sentence of its first paragraph."""
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    blocks = (
        " ".join(block.split())
        for block in re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE).split("\n\n")
    )
    prose = (block for block in blocks if block[:1].isalpha() or block[:1] in ("*", "`"))
    paragraph = next(prose, "")
    sentence = re.split(r"(?<=[.?!])\s", re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", paragraph), maxsplit=1)[0]
    return (title[1] if title else ""), sentence.replace("*", "")


def llms(pages: list[Path]) -> str:
    """The text of ``llms.txt``: every page with its first sentence, in the order of the site."""
    lines = [INTRODUCTION]
    for name in (MARKDOWN / ORDER).read_text("utf-8").split():
        if Path(f"{name}.md") not in pages:
            continue
        title, sentence = summary((HTML / f"{name}.md").read_text("utf-8"))
        if name.endswith("/index"):
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
    for path, link, target in linked_files():
        if not (target.exists() and target.is_relative_to(HTML)):
            yield f"{path.relative_to(HTML)}: {link} does not exist"


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
        copy_linked()
        sys.stdout.write(
            f"built in {time.perf_counter() - start[0]:.0f} s, {time.process_time() - start[1]:.0f} s of one core\n"
        )
    found = list(broken())
    sys.stderr.write("".join(f"{line}\n" for line in found))
    for name in ("index", "tutorials/first_study", "reference/thinned", "evidence/README"):
        own, whole = weight(HTML / f"{name}.html")
        sys.stdout.write(f"{name}: {own / 1000:,.0f} kB, {whole / 1000:,.0f} kB with all it loads\n")
    total = sum(path.stat().st_size for path in HTML.rglob("*") if path.is_file())
    count = sum("_static" not in path.parts for path in HTML.rglob("*.html"))
    sys.stdout.write(f"{count} pages, {total / 1e6:.1f} MB in all, {len(found)} broken links\n")
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
