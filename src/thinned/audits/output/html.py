"""The result of an audit as an HTML page."""

from thinned.audits.findings import Audit
from thinned.audits.rules import RULES

__all__ = ["to_html"]


def to_html(result: Audit) -> str:
    """The result as one page without scripts; all text is escaped."""
    import jinja2  # noqa: PLC0415 - of the study extra

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("thinned.audits.output", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("audit.html.jinja").render(result=result, rules=list(RULES))
