"""How a column is read: decided once from the study's table, kept with the model, and applied to every later file.

| reading | cells | decided where |
|---|---|---|
| number | numbers in one form, or truth values | nearly all cells are numbers, and no codes such as 007 |
| date | times in UTC | nearly all cells are dates |
| level | names of a few levels | there are at most 64 distinct texts |
| text | any text | there are more |
| drop | nothing | no cell is filled, each row has a key of its own, or the user says so |

A blank cell is missing in every column, and so are the error values of spreadsheets. NA, None, null and the like are
missing among numbers and dates. Among levels and text they are words.
"""

import re
from collections import Counter
from decimal import Decimal
from typing import Annotated, Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from thinned.errors import InputError
from thinned.studies.table.columns import MISSING_WORDS, Column, Dates, Numbers, Text
from thinned.studies.table.date_forms import DateOrder, parse_dates
from thinned.studies.table.number_forms import DecimalMark, NumberForm, ThousandsMark, parse_numbers

__all__ = [
    "ColumnReading",
    "DateReading",
    "DropReading",
    "LevelReading",
    "NumberReading",
    "TextReading",
    "Unreadable",
    "days_since_1970",
    "dump_readings",
    "load_readings",
    "read_dates",
    "read_levels",
    "read_numbers",
    "read_text",
]

_FIGURES = re.compile(r"[+-]?[0-9]{1,30}(\.[0-9]{1,30})?")

Floats: TypeAlias = npt.NDArray[np.float64]


class _Reading(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all readings have.

    Attributes:
        incomplete: a cell is missing in the study's table.
    """

    incomplete: bool = False

    @property
    def kind(self) -> str:
        """The kind of reading."""
        return str(self.__struct_config__.tag)

    @property
    def label(self) -> str:
        """The kind as a report names it."""
        return self.kind


class NumberReading(_Reading, frozen=True, kw_only=True, tag="number"):
    """Numbers.

    Attributes:
        decimal: the decimal mark.
        thousands: the mark between thousands, or "".
        unit: a currency or "%" that cells may have, or "".
        truth: the words true and false are the numbers 1 and 0.
        missing: the words of the study's table that stand for a missing number.
        lowest: the least number of the study's table.
        highest: the greatest.
    """

    decimal: DecimalMark = "."
    thousands: ThousandsMark = ""
    unit: Annotated[str, msgspec.Meta(max_length=8)] = ""
    truth: bool = False
    missing: tuple[str, ...] = ()
    lowest: float = 0.0
    highest: float = 0.0

    @property
    def sentence(self) -> str:
        """Say how the column is read."""
        if self.truth:
            return "truth values, as 0 and 1"
        marks = [f"“{self.unit}” as the unit"] * bool(self.unit)
        marks += [f"“{self.decimal}” as the decimal mark"] * (self.decimal != "." or bool(self.thousands))
        marks += [f"“{self.thousands}” between thousands"] * bool(self.thousands)
        return _joined("numbers", marks, self.missing)


class DateReading(_Reading, frozen=True, kw_only=True, tag="date"):
    """Dates and times.

    Attributes:
        order: the order of day and month where both are figures and the year is not first; None if the study's table
            had no such dates: then later ones can't be read.
        zoned: some cells of the study's table name a time zone.
        missing: the words of the study's table that stand for a missing date.
        lowest: the earliest time of the study's table, in days since 1970.
        highest: the latest.
    """

    order: DateOrder | None = None
    zoned: bool = False
    missing: tuple[str, ...] = ()
    lowest: float = 0.0
    highest: float = 0.0

    @property
    def sentence(self) -> str:
        """Say how the column is read."""
        notes = ["times with a zone in UTC"] * self.zoned
        order = f", {self.order.replace('-', ' ')} where both are figures" if self.order else ""
        return _joined(f"dates{order}", notes, self.missing)


class LevelReading(_Reading, frozen=True, kw_only=True, tag="level"):
    """Levels.

    Attributes:
        levels: the distinct texts of the study's table.
    """

    levels: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """Say how the column is read."""
        return "1 level" if len(self.levels) == 1 else f"{len(self.levels)} levels"


class TextReading(_Reading, frozen=True, kw_only=True, tag="text"):
    """Text of any content.

    Attributes:
        digits: the length of all texts of the study's table, where they are digits with zeros in front; or 0.
        figures: some texts of the study's table are figures that a number would not keep: 007, 1.50, +3.
    """

    digits: Annotated[int, msgspec.Meta(ge=0, le=30)] = 0
    figures: bool = False

    @property
    def sentence(self) -> str:
        """Say how the column is read."""
        return "text, by its parts"


class DropReading(_Reading, frozen=True, kw_only=True, tag="drop"):
    """A column that is left out.

    Attributes:
        reason: why it is.
    """

    reason: Literal["empty", "identifier", "asked"] = "asked"

    @property
    def label(self) -> str:
        """The kind as a report names it."""
        return "empty" if self.reason == "empty" else "left out"

    @property
    def sentence(self) -> str:
        """Say how the column is read."""
        reasons = {"empty": "every cell is empty", "identifier": "every row has a key of its own", "asked": "as asked"}
        return f"left out: {reasons[self.reason]}"


ColumnReading: TypeAlias = NumberReading | DateReading | LevelReading | TextReading | DropReading


class Unreadable(NamedTuple):
    """Cells that are filled but can't be read as the column is; they count as missing.

    Attributes:
        rows: their positions.
        values: the distinct ones, as text.
    """

    rows: npt.NDArray[np.int64]
    values: tuple[str, ...]


def _joined(kind: str, notes: list[str], missing: tuple[str, ...]) -> str:
    words = [f"{', '.join(f'“{word}”' for word in missing)} as missing"] * bool(missing)
    text = " and ".join(notes + words)
    return f"{kind}, with {text}" if text else kind


def _unreadable(column: Column, absent: npt.NDArray[np.bool_]) -> Unreadable:
    rows = np.flatnonzero(absent & ~column.missing)
    if not rows.size:
        return Unreadable(rows, ())
    text = column.text
    return Unreadable(rows, tuple(text.labels[code] for code in dict.fromkeys(text.codes[rows].tolist()) if code >= 0))


def read_numbers(column: Column, reading: NumberReading) -> tuple[Floats, Unreadable]:
    """Read a column as numbers.

    Returns:
        ``(rows,)`` float64, NaN where a cell is missing or unreadable; and the unreadable cells.
    """
    match column.cells:
        case Numbers(values=values):
            return values.astype(np.float64), _unreadable(column, column.missing)
        case Dates(times=times):
            numbers = np.full(len(times), np.nan)
            return numbers, _unreadable(column, np.isnan(numbers))
        case Text() as cells:
            known = Column(column.name, cells.without(MISSING_WORDS + reading.missing))
            assert isinstance(known.cells, Text)  # noqa: S101 (for the type checker)
            numbers = parse_numbers(known.cells, NumberForm(reading.decimal, reading.thousands), reading.unit)
            if reading.truth:
                words = {"true": 1.0, "false": 0.0}
                truths = known.cells.take(
                    np.array([words.get(label.casefold(), np.nan) for label in known.cells.labels], dtype=np.float64)
                )
                numbers = np.where(np.isnan(numbers), truths, numbers)
            return numbers, _unreadable(known, np.isnan(numbers))


def days_since_1970(times: pd.DatetimeIndex) -> Floats:
    """Give times as days, NaN where missing; nanoseconds would end in 2262."""
    stamps = times.tz_localize(None).to_numpy(dtype="datetime64[us]")
    return np.asarray((stamps - np.datetime64(0, "us")) / np.timedelta64(1, "D"), dtype=np.float64)


def read_dates(column: Column, reading: DateReading) -> tuple[pd.DatetimeIndex, Unreadable]:
    """Read a column as times.

    Returns:
        ``(rows,)`` in UTC, NaT where a cell is missing or unreadable; and the unreadable cells.
    """
    match column.cells:
        case Dates(times=times):
            return times, _unreadable(column, column.missing)
        case Numbers(values=values):
            times = pd.DatetimeIndex(np.full(len(values), "NaT", dtype="datetime64[us]")).tz_localize("UTC")
            return times, _unreadable(column, np.ones(len(values), dtype=bool))
        case Text() as cells:
            known = cells.without(MISSING_WORDS + reading.missing)
            times = parse_dates(known, reading.order)
            return times, _unreadable(Column(column.name, known), np.asarray(times.isna(), dtype=bool))


def read_levels(column: Column, reading: LevelReading) -> Text:
    """Read a column as levels.

    A frame may hold the codes of a file as numbers: there 1 is the level 01, if no other level has that value.

    Returns:
        the cells; those that are no level of the study's table keep their own text.
    """
    text, known = column.text, set(reading.levels)
    if not isinstance(column.cells, Numbers) or column.cells.truth or known.issuperset(text.labels):
        return text
    values = [(Decimal(level), level) for level in reading.levels if _FIGURES.fullmatch(level)]
    counts = Counter(value for value, _ in values)
    levels = {value: level for value, level in values if counts[value] == 1}
    labels: list[str | None] = [
        levels.get(Decimal(label), label) if label not in known and _FIGURES.fullmatch(label) else label
        for label in text.labels
    ]
    return Text.from_labels(labels, text.codes)


def read_text(column: Column, reading: TextReading) -> Text:
    """Read a column as text.

    A frame may hold the codes of a file as numbers, which have no zeros in front: they get them back where all codes
    are of one length.
    """
    text = column.text
    if not reading.digits or not isinstance(column.cells, Numbers) or column.cells.truth:
        return text
    labels: list[str | None] = [t.zfill(reading.digits) if t.isdecimal() else t for t in text.labels]
    return Text.from_labels(labels, text.codes)


def dump_readings(readings: dict[str, ColumnReading]) -> str:
    """Write readings as JSON."""
    return msgspec.json.encode(readings).decode()


def load_readings(text: str) -> dict[str, ColumnReading]:
    """Read what :func:`dump_readings` wrote.

    Raises:
        InputError: it is something else.
    """
    try:
        readings = msgspec.json.decode(text.encode("utf-8", "replace"), type=dict[str, ColumnReading])
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"readings of columns must be as the study wrote them; {error}") from None
    for reading in readings.values():
        if isinstance(reading, NumberReading) and reading.thousands == reading.decimal:
            raise InputError("readings of columns must be as the study wrote them; two marks are one")
    return readings
