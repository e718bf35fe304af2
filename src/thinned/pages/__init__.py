"""Common parts of all HTML pages: one look, one file without external requests, and everything escaped."""

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

#: the mark at the top of each page, with the kind of page
_MARK = re.compile(r'<meta name="generator" content="thinned[ a-z]*">')


@cache
def environment(package: str) -> jinja2.Environment:
    """Templates of ``package``, with ``page.css`` and the filters ``fixed`` and ``signed``; all text is escaped."""
    loaders = [jinja2.PackageLoader(package, "templates"), jinja2.PackageLoader("thinned.pages", "templates")]
    templates = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"fixed": fixed, "signed": signed}
    return templates


@cache
def bundle(package: str, name: str) -> str:
    """Vega, Vega-Lite and Vega-Embed in the version of Altair's specifications, and a script of ``package``."""
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    script = vl_convert.javascript_bundle(source(package, name), vl_version=version)
    # Only these end or change a script element; in strings of JavaScript "\/" and "\x21" are the same characters.
    return re.sub(r"</(?=script)", r"<\\/", script, flags=re.IGNORECASE).replace("<!--", "<\\x21--")


def source(package: str, name: str) -> str:
    """The text of a template, not rendered."""
    return jinja2.PackageLoader(package, "templates").get_source(environment(package), name)[0]


def script_hash(script: str) -> str:
    """The source expression with which a page's policy allows this script and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def fixed(value: float | None, places: int) -> str:
    """Write a number with thousands separators and a true minus sign, which a rounded 0 lacks; None is a dash."""
    if value is None:
        return "–"
    text = f"{value:,.{places}f}"
    return text.replace("-", "\N{MINUS SIGN}") if float(text.replace(",", "")) else text.removeprefix("-")


def signed(value: float | None, places: int) -> str:
    """Write a number as :func:`fixed`, with a plus sign before positive numbers."""
    return ("+" if value is not None and round(value, places) > 0 else "") + fixed(value, places)


def write(path: Path, html: str) -> Path:
    """Write a page over an earlier one of its kind, but over no other file.

    Raises:
        InputError: another file is in the way, or the file cannot be written.
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
        raise InputError(sentence("the page needs a place where a file can be written", seen, remedy)) from None
    return path
