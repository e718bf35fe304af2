"""A Sphinx extension for the Markdown twins of pages, and for their order in ``llms.txt``."""

from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx_markdown_builder.translator import MarkdownTranslator

ORDER = "order.txt"  # in the folder of the twins: names of pages, one a line


class Translator(MarkdownTranslator):  # type: ignore[misc]  # untyped
    """The builder's translator, which does not know the star before arguments by keyword."""

    def visit_abbreviation(self, node: nodes.Element) -> None:
        """Write the text of an abbreviation as it stands."""

    def depart_abbreviation(self, node: nodes.Element) -> None:
        """Nothing follows it."""


def use_translator(app: Sphinx) -> None:
    """Register the translator for the twins alone: where any is registered, the theme leaves its own for HTML out."""
    if app.builder.name == "markdown":
        app.set_translator("markdown", Translator)


def write_order(app: Sphinx, exception: Exception | None) -> None:
    """Write the names of all pages in the order of the toctrees."""
    if app.builder.name != "markdown" or exception is not None:
        return
    waiting, names = [app.config.root_doc], dict[str, None]()
    while waiting:
        name = waiting.pop(0)
        if name not in names:
            names[name] = None
            waiting = [*app.env.toctree_includes.get(name, ()), *waiting]
    (Path(app.outdir) / ORDER).write_text("\n".join(names), "utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the events."""
    app.connect("builder-inited", use_translator)
    app.connect("build-finished", write_order)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
