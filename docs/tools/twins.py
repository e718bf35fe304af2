"""A Sphinx extension for the Markdown twins: the star before arguments by keyword, which the builder does not know."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx_markdown_builder.translator import MarkdownTranslator


class Translator(MarkdownTranslator):  # type: ignore[misc]  # untyped
    """The builder's translator, and one more node."""

    def visit_abbreviation(self, node: nodes.Element) -> None:
        """Write the text of an abbreviation as it stands."""

    def depart_abbreviation(self, node: nodes.Element) -> None:
        """Nothing follows it."""


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the translator."""
    app.set_translator("markdown", Translator)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
