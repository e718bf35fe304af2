"""A Sphinx extension: a link to a tutorial's script leads to its page.

A page of Markdown links to the script or to its folder, which is there where the source is read. On the site and in
the Markdown twins the same link leads to the page that the script became.
"""

import re

from sphinx.application import Sphinx

SCRIPT = re.compile(r"\]\(((?:\.\./)*)\.\./examples/tutorials/(\w+)?(?:\.py)?\)")


def tutorial_links(text: str, suffix: str) -> str:
    """Replace links to scripts by links to their pages, from any page below ``docs``."""
    return SCRIPT.sub(lambda found: f"]({found[1]}tutorials/{found[2] or 'index'}{suffix})", text)


def read(app: Sphinx, name: str, source: list[str]) -> None:  # noqa: ARG001 - Sphinx's signature
    """Replace the links of a page that is read."""
    source[0] = tutorial_links(source[0], ".rst")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
