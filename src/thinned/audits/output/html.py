"""The result of an audit as an HTML page."""

from thinned.audits.findings import Audit
from thinned.audits.rules import RULES
from thinned.errors import InputError, sentence

__all__ = ["to_html"]


def to_html(result: Audit) -> str:
    """The result as one page without scripts; all text is escaped.

    Raises:
        InputError: jinja2 is not installed.
    """
    try:
        import jinja2  # noqa: PLC0415 - of the extras
    except ModuleNotFoundError:
        remedy = "install it with: pip install 'thinned[audit]'"
        raise InputError(sentence("a page in HTML needs jinja2", "it is not installed", remedy)) from None

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("thinned.audits.output", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("audit.html.jinja").render(result=result, rules=list(RULES))
