"""Write docs/api.md, the list of everything public, from the packages' ``__all__``.

python docs/tools/api.py           # write
python docs/tools/api.py --check   # fail if the page is not what would be written
"""

import inspect
import re
import textwrap
from pathlib import Path
from types import ModuleType

from generated import main

import thinned

PAGE = Path(__file__).resolve().parents[1] / "api.md"
MODULES = ("functional", "ensemble", "uncertainty", "masks", "schedules", "sites", "datasets", "estimators")
INTRODUCTION = """<!-- `python docs/tools/api.py` writes this page; a test fails if it is stale. -->

# Public names

Everything that is not listed here is internal and may change without notice. `help(name)` in Python
gives shapes, units, dtypes, errors and sources, and so does the API reference of the site.
"""


def summary(value: object) -> str:
    """The summary line of a docstring, as Markdown within a table cell."""
    own = inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value)
    if not own:
        return f"Type alias: `{value}`".replace("|", "\\|")
    text = " ".join((inspect.getdoc(value) or "").split("\n\n", maxsplit=1)[0].split())
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`").replace("|", "\\|")


def table(module: ModuleType, names: list[str]) -> str:
    """The names of a module with their summaries; submodules are sections of their own."""
    rows = [(name, getattr(module, name)) for name in sorted(names) if not name.startswith("__")]
    lines = [f"| `{name}` | {summary(value)} |" for name, value in rows if not inspect.ismodule(value)]
    return "\n".join(["| name | what it is |", "|---|---|", *lines])


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION, "## thinned\n", table(thinned, thinned.__all__), ""]
    for name in MODULES:
        module = getattr(thinned, name)
        parts += [f"## thinned.{name}\n", f"{textwrap.fill(summary(module), 100)}\n", table(module, module.__all__), ""]
    return "\n".join(parts)


if __name__ == "__main__":
    raise SystemExit(main({PAGE: page()}, "api.py"))
