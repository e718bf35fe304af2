"""What all HTML pages of ours share: one look, one file without an external request, and everything escaped."""

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

import altair as alt
import jinja2
import vl_convert

from thinned.errors import InputError, sentence

__all__ = ["bundle", "environment", "fixed", "script_hash", "signed", "source", "write"]

#: by which a page of ours is known, and of what kind it is; it stands at the top of each
_MARK = re.compile(r'<meta name="generator" content="thinned[ a-z]*">')


@cache
def environment(package: str) -> jinja2.Environment:
    """Templates of ``package``, with ``page.css`` and the filters ``fixed`` and ``signed``; all text is escaped."""
    loaders = [jinja2.PackageLoader(package, "templates"), jinja2.PackageLoader("thinned.pages", "templates")]
    made = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"fixed": fixed, "signed": signed}
    return made


@cache
def bundle(package: str, name: str) -> str:
    """Vega, Vega-Lite, Vega-Embed and a script of ``package``, in the version whose specifications Altair writes."""
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    script = vl_convert.javascript_bundle(source(package, name), vl_version=version)
    # only these would end or change a script element; in JavaScript's strings "\/" and "\x21" are the same characters
    return re.sub(r"</(?=script)", r"<\\/", script, flags=re.IGNORECASE).replace("<!--", "<\\x21--")


def source(package: str, name: str) -> str:
    """The text of a template as it is."""
    return jinja2.PackageLoader(package, "templates").get_source(environment(package), name)[0]


def script_hash(script: str) -> str:
    """The source by which a page's policy lets this script run, and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def fixed(value: float | None, places: int) -> str:
    """With thousands separators and a true minus sign, and without the sign where all digits are 0; None is a dash."""
    if value is None:
        return "–"
    text = f"{value:,.{places}f}"
    return text.replace("-", "\N{MINUS SIGN}") if float(text.replace(",", "")) else text.removeprefix("-")


def signed(value: float | None, places: int) -> str:
    """As :func:`fixed`, with a plus sign before positive numbers."""
    return ("+" if value is not None and round(value, places) > 0 else "") + fixed(value, places)


def write(path: Path, html: str) -> Path:
    """Write a page; one of its kind that was there before is written over, any other file is left alone.

    Raises:
        InputError: something else is in the way, or the file can't be written.
    """
    remedy = "choose another with --out"
    try:
        mark = _MARK.search(html)
        if path.exists() and (mark is None or mark[0].encode() not in path.read_bytes()[:2000]):
            raise InputError(sentence("a page must not overwrite another file", f"got {path}", remedy))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(html, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        seen = f"got {path} ({error.strerror})"
        raise InputError(sentence("the page must go where a file can be written", seen, remedy)) from None
    return path
