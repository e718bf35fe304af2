"""Small tables in HTML, as a notebook shows them; all text is escaped."""

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["html_table"]

_LEFT = ' style="text-align: left"'


def html_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A title and a table below it.

    Args:
        title: a sentence or a name; plain text.
        columns: the names of the columns.
        rows: a text for each column.
    """
    head = "".join(f"<th{_LEFT}>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td{_LEFT}>{escape(text)}</td>' for text in row)}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if body else ""
    return f"<div><p><strong>{escape(title)}</strong></p>{table}</div>"
