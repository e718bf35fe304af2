"""Decides how one column of a study's table is read."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import msgspec
import numpy as np

from thinned.errors import InputError, sentence
from thinned.studies.table.columns import MISSING_WORDS, Column, Dates, Numbers, Text
from thinned.studies.table.date_forms import choose_order
from thinned.studies.table.names import quote
from thinned.studies.table.notices import Location, Notice, cells_at, row_number
from thinned.studies.table.number_forms import FORMS, FormChoice, choose_form, plain_choice
from thinned.studies.table.readings import (
    ColumnReading,
    DateReading,
    DropReading,
    LevelReading,
    NumberReading,
    TextReading,
    Unreadable,
    read_dates,
    read_numbers,
)

__all__ = ["LEVELS", "OVERRIDES", "Context", "Decision", "decide_column", "without_key"]

LEVELS = 64  # columns of more distinct texts are text
OVERRIDES = ("number", "level", "text", "date", "date:day-first", "date:month-first", "drop")
_NEARLY = 0.9  # of the cells: a column that is so far of one kind is of that kind, and the other cells are mistakes
_INFORMAL = ("na", "n.a.", "N.A.", "none", "-", "--")  # words that may also be typing errors
_CODE = re.compile(r"[+-]?0\d+")
_DIGITS = re.compile(r"[0-9]{1,30}")
_REWRITTEN = re.compile(r"[+-]?0[0-9]+(\.[0-9]*)?|[+-]?[0-9]*\.[0-9]*0|[+-]?[0-9]+\.|\+[0-9.]+")
_KEY = re.compile(r"\S{1,64}")
_KEY_NAME = re.compile(r"(.*[ _.-])?(id|key|index|row|rownames?|nr|no)|unnamed: 0|.*[a-z]I[Dd]", re.IGNORECASE)


class Context(NamedTuple):
    """What is known besides a column.

    Attributes:
        marks: the number of other columns with each decimal mark.
        location: names a row in messages.
    """

    marks: Mapping[str, int] = MappingProxyType({})
    location: Location = row_number


ALONE = Context()


class Decision(NamedTuple):
    """How one column is read.

    Attributes:
        reading: the reading.
        unreadable: filled cells that it can't read.
        notices: what the user should know.
        mark: the decimal mark that the column's numbers have without doubt, or "".
        ambiguous: several readings of numbers fit every row.
    """

    reading: ColumnReading
    unreadable: Unreadable = Unreadable(np.zeros(0, dtype=np.int64), ())
    notices: tuple[Notice, ...] = ()
    mark: str = ""
    ambiguous: bool = False


def decide_column(column: Column, override: str | None = None, context: Context = ALONE) -> Decision:
    """Decide how a column is read.

    Args:
        column: the column.
        override: one of :data:`OVERRIDES`, or None to find out.
        context: what is known besides.

    Raises:
        InputError: no cell can be read as the override says.
    """
    known = column.cells.without(MISSING_WORDS) if isinstance(column.cells, Text) else None
    empty = bool(column.missing.all()) or (known is not None and not known.labels)
    match override:
        case "drop":
            return Decision(DropReading())
        case "level" | "text" if not column.missing.all():
            return Decision(_level(column) if override == "level" else _free_text(column))
        case _ if empty:
            return Decision(DropReading(reason="empty"))
        case str():
            return _overridden(column, known, override, context)
    return _found(column, known, context)


def _found(column: Column, known: Text | None, context: Context) -> Decision:
    """Find out how a column is read; ``known`` is its text without the words for missing."""
    match column.cells:
        case Numbers(truth=truth):
            return _numbers(column, NumberReading(truth=truth), context)
        case Dates():
            return _dates(column, DateReading(), context)
        case Text(settled=False) if known is not None:
            return _text(column, known, context)
    return _words(column)


def _overridden(column: Column, known: Text | None, override: str, context: Context) -> Decision:
    kind, _, order = override.partition(":")
    if kind == "number":
        truth = column.cells.truth if isinstance(column.cells, Numbers) else known is not None and _truths(known)
        choice = _form(known, context.marks) if known is not None else FormChoice(FORMS[0], "", 0, False)
        decision = _chosen(column, choice, context, truth=truth)
    else:
        reading, _, ambiguous = (DateReading(), 0, False) if known is None else _date_reading(known, sampled=False)
        if order:
            reading = msgspec.structs.replace(reading, order=order)
        decision = _dates(column, reading, context)
        if ambiguous and not order:
            decision = decision._replace(notices=(*decision.notices, _ambiguous_date(column, reading)))
    if decision.unreadable.rows.size == np.count_nonzero(~column.missing):
        value = f"{quote(column.name)} has {quote(decision.unreadable.values[0])}"
        raise InputError(sentence(f"a column that is read as {kind} must hold some", value, "choose another reading"))
    return decision


def _chosen(column: Column, choice: FormChoice, context: Context, *, truth: bool = False) -> Decision:
    """Read a column as numbers of the form that fits it."""
    decision = _numbers(column, _number_reading(choice, truth=truth), context)
    notices = decision.notices
    if choice.ambiguous and choice.form != FORMS[0]:
        notices += (_ambiguous_number(column, choice),)
    mark = choice.form.decimal if choice.marked and not choice.ambiguous else ""
    return decision._replace(notices=notices, mark=mark, ambiguous=choice.ambiguous)


def _text(column: Column, known: Text, context: Context) -> Decision:
    """Find out what a column of text holds; ``known`` is without the words for missing."""
    if _truths(known):
        return _numbers(column, NumberReading(truth=True, missing=_missing_words(column)), context)
    filled = int(known.counts.sum())
    choice = _form(known, context.marks)
    if choice.rows >= _NEARLY * filled and not _is_code(known):
        return _chosen(column, choice, context)
    reading, rows, ambiguous = _date_reading(known)
    if rows >= _NEARLY * filled:
        decision = _dates(column, reading, context)
        if ambiguous:
            return decision._replace(notices=(*decision.notices, _ambiguous_date(column, reading)))
        return decision
    return _words(column)


def _words(column: Column) -> Decision:
    if len(column.text.labels) <= LEVELS:
        return Decision(_level(column))
    return Decision(_free_text(column))


def _free_text(column: Column) -> TextReading:
    labels, incomplete = column.text.labels, bool(column.missing.any())
    figures = any(map(_REWRITTEN.fullmatch, labels))
    lengths = {len(label) if _DIGITS.fullmatch(label) else 0 for label in labels} if figures else set()
    return TextReading(incomplete=incomplete, figures=figures, digits=lengths.pop() if len(lengths) == 1 else 0)


def _level(column: Column) -> LevelReading:
    return LevelReading(levels=tuple(sorted(column.text.labels)), incomplete=bool(column.missing.any()))


def _truths(texts: Text) -> bool:
    return len(texts.labels) <= 6 and {label.casefold() for label in texts.labels} <= {"true", "false"}


def _form(texts: Text, marks: Mapping[str, int]) -> FormChoice:
    plain = plain_choice(texts)
    if plain is not None and not (plain.ambiguous and marks):
        return plain
    return choose_form(texts.labels, texts.counts.tolist(), marks)


def _is_code(texts: Text) -> bool:
    """Tell whether whole numbers are codes: they begin with a zero, and are all as long or often so."""
    if not texts.matches(r"^[+-]?0\d+$").any():
        return False
    codes = [_CODE.fullmatch(label) is not None for label in texts.labels]
    rows = int(texts.counts[codes].sum())
    lengths = {len(label) for label in texts.labels}
    return rows > 0 and (len(lengths) == 1 or rows >= (1 - _NEARLY) * texts.counts.sum())


def _missing_words(column: Column) -> tuple[str, ...]:
    """The words in a column of text that stand for missing numbers or dates."""
    return column.cells.words if isinstance(column.cells, Text) else ()


def _number_reading(choice: FormChoice, *, truth: bool = False) -> NumberReading:
    form = choice.form
    return NumberReading(decimal=form.decimal, thousands=form.thousands, unit=choice.unit, truth=truth)


def _date_reading(known: Text, *, sampled: bool = True) -> tuple[DateReading, int, bool]:
    choice = choose_order(known.labels, known.counts, sampled=sampled)
    return DateReading(order=choice.order, zoned=choice.zoned), choice.rows, choice.ambiguous


def _numbers(column: Column, reading: NumberReading, context: Context) -> Decision:
    values, unreadable = read_numbers(column, reading)
    known = values[np.isfinite(values)]
    lowest, highest = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    missing = _missing_words(column)
    reading = msgspec.structs.replace(
        reading, missing=missing, lowest=lowest, highest=highest, incomplete=bool(np.isnan(values).any())
    )
    return Decision(reading, unreadable, _informal(column, missing, context.location))


def _dates(column: Column, reading: DateReading, context: Context) -> Decision:
    times, unreadable = read_dates(column, reading)
    days = (times.dropna().tz_localize(None).to_numpy("datetime64[us]") - np.datetime64(0, "us")) / np.timedelta64(
        1, "D"
    )
    lowest, highest = (float(days.min()), float(days.max())) if days.size else (0.0, 0.0)
    missing = _missing_words(column)
    reading = msgspec.structs.replace(
        reading, missing=missing, lowest=lowest, highest=highest, incomplete=bool(times.isna().any())
    )
    return Decision(reading, unreadable, _informal(column, missing, context.location))


def _informal(column: Column, missing: tuple[str, ...], location: Location) -> tuple[Notice, ...]:
    words = [word for word in missing if word in _INFORMAL]
    if not words:
        return ()
    text = column.text
    rows = np.flatnonzero(np.isin(text.codes, [text.labels.index(word) for word in words]))
    message = f"Column {quote(column.name)} has {cells_at(rows, tuple(words), location)}, read as missing."
    return (Notice(code="missing_word", column=column.name, cells=len(rows), message=message),)


def _ambiguous_number(column: Column, choice: FormChoice) -> Notice:
    example = next(label for label in column.text.labels if "," in label or "." in label)
    value = "a decimal mark" if choice.form.decimal in example else "the mark between thousands"
    mark = "," if "," in example else "."
    message = (
        f"Numbers of column {quote(column.name)}, as {quote(example)}, fit two readings: “{mark}” was read as {value}."
    )
    return Notice(code="ambiguous_number", column=column.name, cells=len(column.missing), message=message)


def _ambiguous_date(column: Column, reading: DateReading) -> Notice:
    example = next((label for label in column.text.labels if label[:1].isdigit()), column.text.labels[0])
    order = (reading.order or "").replace("-", " ")
    message = (
        f"Every date of column {quote(column.name)}, as {quote(example)}, fits both orders of day and month: "
        f"read {order}; say --column {column.name}=date:day-first or date:month-first."
    )
    return Notice(code="ambiguous_date", column=column.name, cells=len(column.missing), message=message)


def without_key(column: Column, decision: Decision) -> Decision:
    """Leave out a column that gives each row a text of its own; warn about one that numbers the rows."""
    name, rows = column.name, len(column.missing)
    if bool(column.missing.any()):
        return decision
    option = f"--column {name}="
    if isinstance(decision.reading, TextReading | LevelReading):
        labels = column.text.labels
        if len(labels) < rows or not all(map(_KEY.fullmatch, labels)):
            return decision
        message = f"Column {quote(name)} has a different value in every row and is left out; {option}text keeps it."
        notice = Notice(code="identifier", column=name, cells=rows, message=message)
        return Decision(DropReading(reason="identifier"), notices=(*decision.notices, notice))
    if isinstance(decision.reading, NumberReading) and not decision.unreadable.rows.size:
        values, _ = read_numbers(column, decision.reading)
        if not np.isfinite(values).all():
            return decision
        counted = bool((np.diff(values) == 1).all()) and values[0] in {0.0, 1.0}
        named = _KEY_NAME.fullmatch(name) is not None
        if counted or (named and bool((values == np.round(values)).all()) and len(np.unique(values)) == rows):
            message = f"Column {quote(name)} numbers the rows and is used as a number; {option}drop leaves it out."
            notice = Notice(code="identifier", column=name, cells=rows, message=message)
            return decision._replace(notices=(*decision.notices, notice))
    return decision
