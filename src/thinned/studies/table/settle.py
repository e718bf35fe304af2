"""Decides how all columns of a frame are read, and reads them."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from pyarrow import compute

from thinned.errors import InputError, sentence
from thinned.studies.table.columns import Column, Dates, Numbers, Series, Text, column_of
from thinned.studies.table.decisions import OVERRIDES, Context, Decision, decide_column, without_key
from thinned.studies.table.names import check_names, listed, quote
from thinned.studies.table.notices import Location, Notice, cells_at, row_number
from thinned.studies.table.readings import (
    ColumnReading,
    DateReading,
    NumberReading,
    Unreadable,
    read_dates,
    read_numbers,
)

__all__ = ["Settled", "columns_of", "decide", "settle", "settled_frame"]

_FEWEST = 50  # rows in which keys are looked for
_WHOLE = r"^-?\d{1,18}$"


class Settled(NamedTuple):
    """A frame whose columns are read.

    Attributes:
        features: numbers, times in UTC and categories, ``(rows, columns)``.
        readings: how each column was read, by name.
        notices: what the user should know.
    """

    features: pd.DataFrame
    readings: dict[str, ColumnReading]
    notices: tuple[Notice, ...]


def settle(frame: pd.DataFrame, overrides: Mapping[str, str] | None = None) -> Settled:
    """Decide how the columns of a frame are read, and read them.

    Args:
        frame: the frame, ``(rows, columns)``.
        overrides: kinds by column name, of :data:`thinned.studies.table.decisions.OVERRIDES`.

    Raises:
        InputError: a name is repeated, a column holds other things than scalars, or a few cells of a column can't be
            read as the others are.
    """
    columns = columns_of(frame)
    decisions = decide(columns, overrides or {})
    readings = {name: decision.reading for name, decision in decisions.items()}
    notices = tuple(notice for decision in decisions.values() for notice in decision.notices)
    return Settled(settled_frame(columns, readings), readings, notices)


def columns_of(frame: pd.DataFrame) -> list[Column]:
    """Take the columns of a frame; names become text.

    Raises:
        InputError: a name is repeated, or a column holds other things than scalars.
    """
    names = [str(name) for name in frame.columns]
    check_names(names)
    return [column_of(frame.iloc[:, i], name) for i, name in enumerate(names)]


def decide(
    columns: Sequence[Column],
    overrides: Mapping[str, str],
    location: Location = row_number,
    *,
    identifiers: Collection[str] = (),
) -> dict[str, Decision]:
    """Decide how columns are read, by name.

    Args:
        columns: the columns.
        overrides: as for :func:`settle`.
        location: names a row in messages.
        identifiers: the columns that are left out if they are keys.

    Raises:
        InputError: an override is none or of no column, or a few cells can't be read as the others of their column.
    """
    _check_overrides(overrides, [column.name for column in columns])
    context = Context(location=location)
    decisions = {column.name: decide_column(column, overrides.get(column.name), context) for column in columns}
    marks = Counter(decision.mark for decision in decisions.values())
    for column in columns:
        name, decision = column.name, decisions[column.name]
        if decision.ambiguous:
            decisions[name] = decide_column(column, overrides.get(name), context._replace(marks=marks))
        elif name in identifiers and name not in overrides and len(column.missing) >= _FEWEST:
            decisions[name] = without_key(column, decision)
    mistakes = {name: decision.unreadable for name, decision in decisions.items() if decision.unreadable.rows.size}
    if not overrides.keys() >= mistakes.keys():
        unsettled = {name: mistake for name, mistake in mistakes.items() if name not in overrides}
        raise _mistaken(unsettled, decisions, len(columns[0].missing), location)
    for name, unreadable in mistakes.items():
        kind = "numbers" if isinstance(decisions[name].reading, NumberReading) else "dates"
        places = cells_at(unreadable.rows, unreadable.values, location)
        message = f"Column {quote(name)} was read as {kind}, as asked: {places} counted as missing."
        notice = Notice(code="unreadable", column=name, cells=len(unreadable.rows), message=message)
        decisions[name] = decisions[name]._replace(notices=(*decisions[name].notices, notice))
    return decisions


def _check_overrides(overrides: Mapping[str, str], names: Sequence[str]) -> None:
    for name, kind in overrides.items():
        if name not in names:
            value = f"there is no column {quote(name)}"
            raise InputError(sentence("a reading must be of a column of the table", value, f"it has {listed(names)}"))
        if kind not in OVERRIDES:
            value = f"got {quote(kind)} for column {quote(name)}"
            raise InputError(sentence(f"a column can be read as {', '.join(OVERRIDES)}", value))


def _mistaken(
    mistakes: Mapping[str, Unreadable], decisions: Mapping[str, Decision], rows: int, location: Location
) -> InputError:
    """Name the cells that can't be read as the others of their column."""
    name, unreadable = next(iter(mistakes.items()))
    kind = "number" if isinstance(decisions[name].reading, NumberReading) else "date"
    value = f"got something else in {cells_at(unreadable.rows, unreadable.values, location)} of {rows} rows"
    others = [other for other in mistakes if other != name]
    if others:
        value += f", and in {listed(others, 3)}"
    line = location(int(unreadable.rows[0]))
    remedy = "correct them"
    if any(name in mistake.values for name, mistake in mistakes.items()):
        remedy = f"{line} repeats the header: remove it"
    elif len(unreadable.rows) == 1 and unreadable.rows[0] in {0, rows - 1}:
        what = "the units of the columns" if unreadable.rows[0] == 0 else "a sum or a remark"
        remedy = f"if {line} holds {what}, remove it"
    remedy += f", or say --column {name}={kind} (they count as missing) or --column {name}=level"
    return InputError(sentence(f"column {quote(name)} must hold {kind}s only", value, remedy))


def settled_frame(columns: Sequence[Column], readings: Mapping[str, ColumnReading]) -> pd.DataFrame:
    """Read columns: numbers, times in UTC, and categories of everything else.

    Cells that are numbers already are not copied, and can't be written to.
    """
    series = {column.name: _settled(column, readings[column.name]) for column in columns}
    return pd.DataFrame(series, copy=False) if series else pd.DataFrame()


def _settled(column: Column, reading: ColumnReading) -> Series:
    if isinstance(reading, NumberReading):
        if isinstance(column.cells, Numbers):
            values = np.ascontiguousarray(column.cells.values).view()  # a large table of numbers is in memory once
            values.flags.writeable = False
            return pd.Series(values, copy=False)
        if isinstance(column.cells, Text) and bool(column.cells.matches(_WHOLE).all()):
            return pd.Series(np.asarray(compute.cast(column.cells.texts, "int64"), dtype=np.int64))
        return pd.Series(read_numbers(column, reading)[0])
    if isinstance(reading, DateReading):
        return pd.Series(column.cells.times if isinstance(column.cells, Dates) else read_dates(column, reading)[0])
    return pd.Series(pd.Categorical.from_codes(column.text.codes, pd.Index(column.text.labels, dtype=object)))
