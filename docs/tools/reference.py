"""A Sphinx extension that writes ``docs/reference``: the docstrings of everything public, a page for each module.

The names are those of the packages' ``__all__``, as in docs/api.md. The pages are not kept in the checkout.
"""

import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

from api import MODULES
from sphinx.application import Sphinx

import thinned
from thinned.studies.design.options import StudyOptions
from thinned.studies.design.own_network.options import NetworkOptions

FOLDER = Path(__file__).resolve().parents[1] / "reference"
LAYERS = "layers"
HIDDEN_COLON = "\N{MODIFIER LETTER COLON}"
#: types that no name of ``__all__`` leads to, but whose fields a user passes
OPTIONS = (StudyOptions, NetworkOptions)
INDEX = """API reference
=============

Everything public, with shapes, units, dtypes, errors and sources. :doc:`/api` has all names on one page, with a line
each.

.. toctree::
   :maxdepth: 1

   /api
   {pages}
"""


def directive(path: str, value: object) -> str:
    """The directive that documents an object."""
    if inspect.isclass(value):
        kind = "autoexception" if issubclass(value, BaseException) else "autoclass"
    else:
        kind = "autofunction" if inspect.isroutine(value) else "autodata"
    return f".. {kind}:: {path}\n"


def heading(title: str) -> str:
    """A title of reStructuredText."""
    return f"{title}\n{'=' * len(title)}\n"


def names(module: ModuleType) -> list[str]:
    """The public names of a module, its submodules left out."""
    public = (name for name in module.__all__ if not name.startswith("__"))
    return [name for name in public if not inspect.ismodule(getattr(module, name))]


def pages() -> dict[str, str]:
    """The text of each page, by its name."""
    of_layers = names(thinned.layers)
    top = [name for name in names(thinned) if name not in of_layers and name not in names(thinned.functional)]
    texts = {"thinned": [heading("thinned"), (inspect.getdoc(thinned) or "").partition("\n")[0] + "\n"]}
    texts["thinned"] += [directive(f"thinned.{name}", getattr(thinned, name)) for name in sorted(top)]
    texts["thinned"] += [directive(f"{kind.__module__}.{kind.__name__}", kind) for kind in OPTIONS]
    for name in (LAYERS, *MODULES):
        module = getattr(thinned, name)
        home = "thinned" if name == LAYERS else f"thinned.{name}"
        paths = [
            (f"{home if hasattr(thinned, one) or name != LAYERS else 'thinned.layers'}.{one}", one)
            for one in names(module)
        ]
        texts[name] = [heading(f"thinned.{name}"), (inspect.getdoc(module) or "") + "\n"]
        texts[name] += [directive(path, getattr(module, one)) for path, one in paths]
    written = {name: "\n".join(parts) for name, parts in texts.items()}
    return written | {"index": INDEX.format(pages="\n   ".join(texts))}


def write(app: Sphinx) -> None:  # noqa: ARG001 - Sphinx's signature
    """Write the pages that have changed."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        path = FOLDER / f"{name}.rst"
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def skip(app: Sphinx, what: str, name: str, obj: object, skipped: bool, options: object) -> bool | None:  # noqa: ARG001
    """Leave out what the standard library and scikit-learn document: fields of named tuples, requests for metadata."""
    text = getattr(obj, "__doc__", None) or ""
    return True if text.startswith("Alias for field") or "metadata_routing" in text else None


def hide_colon(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:  # noqa: ARG001
    """Keep the colon of a property's first line from napoleon, which takes the words before it for a type."""
    if what == "property":
        lines[0] = lines[0].replace(":", HIDDEN_COLON)


def show_colon(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:  # noqa: ARG001
    """Put the colon back."""
    lines[:] = [line.replace(HIDDEN_COLON, ":") for line in lines]


def alternate(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object) -> None:  # noqa: ARG001
    """Name the Markdown twin of a page in its head."""
    if doctree is not None:
        twin = f"{pagename.rpartition('/')[2]}.md"
        context["metatags"] += f'<link rel="alternate" type="text/markdown" href="{twin}">'


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("builder-inited", write)
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", hide_colon, priority=400)  # napoleon's is 500
    app.connect("autodoc-process-docstring", show_colon, priority=600)
    app.connect("html-page-context", alternate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
