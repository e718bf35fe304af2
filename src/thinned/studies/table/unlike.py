"""Says what in new rows is unlike the table that a model has learnt from."""

from collections.abc import Iterator

import numpy as np

from thinned.studies.table.columns import Column, Numbers
from thinned.studies.table.names import listed, quote
from thinned.studies.table.notices import Notice, NoticeCode
from thinned.studies.table.readings import (
    ColumnReading,
    DateReading,
    DropReading,
    Floats,
    LevelReading,
    NumberReading,
    TextReading,
    Unreadable,
    days_since_1970,
    read_dates,
    read_levels,
    read_numbers,
    read_text,
)

__all__ = ["unlike"]


def unlike(column: Column, reading: ColumnReading) -> Iterator[Notice]:
    """Compare a column of new rows with the study's.

    Unlike are cells that can't be read, levels that are new, numbers and dates that lie further outside the range than
    the range is wide, and missing cells where none was missing.
    """
    missing, unreadable = int(column.missing.sum()), 0
    if isinstance(reading, DropReading) or not len(column.missing):
        return
    if missing == len(column.missing):
        yield _notice("empty", column, missing, "is empty; in the training rows it was not")
        return
    if isinstance(reading, LevelReading):
        yield from _new_levels(column, reading)
    if isinstance(reading, TextReading):
        yield from _numbers_for_text(column, reading)
    if isinstance(reading, NumberReading):
        values, cells = read_numbers(column, reading)
        missing, unreadable = int(np.isnan(values).sum()), len(cells.rows)
        yield from _unreadable(column, cells, "number")
        yield from _far(column, values, reading)
    if isinstance(reading, DateReading):
        times, cells = read_dates(column, reading)
        missing, unreadable = int(np.count_nonzero(times.isna())), len(cells.rows)
        yield from _unreadable(column, cells, "date")
        yield from _far(column, days_since_1970(times), reading)
    if missing > unreadable and not reading.incomplete:
        text = f"is missing in {_rows(missing - unreadable)}; in the training rows in none"
        yield _notice("newly_missing", column, missing - unreadable, text)


def _notice(code: NoticeCode, column: Column, cells: int, text: str) -> Notice:
    return Notice(code=code, column=column.name, cells=cells, message=f"Column {quote(column.name)} {text}.")


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def _unreadable(column: Column, unreadable: Unreadable, kind: str) -> Iterator[Notice]:
    count = len(unreadable.rows)
    if count:
        cells, were = f"{count:,} cells that are not {kind}s", "they were"
        if count == 1:
            cells, were = f"a cell that is not a {kind}", "it was"
        text = f"has {cells} ({listed(unreadable.values, 3)}); {were} read as missing"
        yield _notice("unreadable", column, count, text)


def _new_levels(column: Column, reading: LevelReading) -> Iterator[Notice]:
    text = read_levels(column, reading)
    known = set(reading.levels)
    new = [position for position, label in enumerate(text.labels) if label not in known and text.counts[position]]
    if new:
        count = int(text.counts[new].sum())
        names = listed([text.labels[position] for position in new], 3)
        levels = "a level" if len(new) == 1 else f"{len(new):,} levels"
        message = f"has {levels} that the training rows did not have ({names}, in {_rows(count)})"
        yield _notice("unseen_level", column, count, message)


def _numbers_for_text(column: Column, reading: TextReading) -> Iterator[Notice]:
    """Numbers may have lost the zeros that a text had in front or at its end."""
    if not reading.figures or not isinstance(column.cells, Numbers) or column.cells.truth:
        return
    text = read_text(column, reading)
    lost = [i for i, t in enumerate(text.labels) if not (reading.digits == len(t) and t.isdecimal())]
    count = int(text.counts[lost].sum())
    if count:
        names = listed([text.labels[i] for i in lost], 3)
        message = (
            f"has numbers in {_rows(count)} ({names}) where the training rows had text, whose zeros they may have lost"
        )
        yield _notice("number_for_text", column, count, message)


def _far(column: Column, values: Floats, reading: NumberReading | DateReading) -> Iterator[Notice]:
    low, high = reading.lowest, reading.highest
    width = high - low
    far = (values < low - width) | (values > high + width)
    count = int(far.sum())
    if count:
        if isinstance(reading, NumberReading):
            extreme = values[far][np.abs(values[far]).argmax()]
            text = (
                f"has {_rows(count)} far outside the range of the training rows, {low:g} to {high:g} (as {extreme:g})"
            )
        else:
            text = f"has {_rows(count)} far outside the dates of the training rows"
        yield _notice("out_of_range", column, count, text)
