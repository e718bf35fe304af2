"""What a user should know of how a table was read."""

from collections.abc import Callable
from typing import Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from thinned.studies.table.names import listed, quote

__all__ = ["Location", "Notice", "NoticeCode", "cells_at", "row_number"]

NoticeCode = Literal[
    "ambiguous_number",
    "ambiguous_date",
    "identifier",
    "missing_word",
    "class_word",
    "unreadable",
    "unseen_level",
    "number_for_text",
    "out_of_range",
    "newly_missing",
    "empty",
]


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One sentence about one column.

    Attributes:
        code: its kind.
        column: the column's name.
        cells: the number of cells that it is about.
        message: the sentence.
    """

    code: NoticeCode
    column: str
    cells: int
    message: str


Location: TypeAlias = Callable[[int], str]


def row_number(row: int) -> str:
    """Name a row of a frame, counted from 1; the first is 0."""
    return f"row {row + 1}"


def cells_at(rows: npt.NDArray[np.int64], values: tuple[str, ...], location: Location) -> str:
    """Name cells by their places and values: ``line 3 ('x')``, or ``lines 3, 9 and 12 more ('x', 'y')``."""
    places = [location(int(row)) for row in rows[:3]]
    kind = places[0].split()[0]
    numbers = [place.removeprefix(f"{kind} ") for place in places]
    if len(rows) == 1:
        return f"{places[0]} ({quote(values[0])})"
    more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
    return f"{kind}s {', '.join(numbers)}{more} ({listed(values, 3)})"
