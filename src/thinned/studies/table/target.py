"""The column to predict: its task, its classes or values."""

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from thinned.errors import InputError, sentence
from thinned.studies.table.columns import MISSING_WORDS, Column, Numbers, Text
from thinned.studies.table.names import listed, quote
from thinned.studies.table.notices import Location, Notice, cells_at
from thinned.studies.table.number_forms import choose_form
from thinned.studies.table.readings import ColumnReading, DateReading, NumberReading, read_numbers

__all__ = ["LARGEST", "Target", "Task", "check_finite", "read_target"]

Task = Literal["binary", "multiclass", "regression"]
Values: TypeAlias = npt.NDArray[Any]  # float64, or int64 codes

AFFIRMATIVE = {"yes": "no", "true": "false", "1": "0", "y": "n", "t": "f"}
CODES = 20  # integers of more distinct values than this are quantities, not class codes
LARGEST = 1e30  # squares of regression targets below it are far from overflow


class Target(NamedTuple):
    """What is to be predicted.

    Attributes:
        values: ``(rows,)``: float64, or int64 positions in ``classes``.
        task: the task.
        classes: the names of the classes; ``()`` for regression.
        notices: what the user should know.
    """

    values: Values
    task: Task
    classes: tuple[str, ...]
    notices: tuple[Notice, ...] = ()


class _Labels(NamedTuple):
    """The target's cells as names: ``names[codes]``."""

    name: str
    names: list[str]
    codes: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    quantities: bool


def read_target(
    column: Column, reading: ColumnReading, task: Task | None, folds: int, location: Location, *, stated: bool
) -> Target:
    """Settle the task, and read the target.

    Args:
        column: the target.
        reading: how it is read.
        task: overrides what would be inferred.
        folds: of the cross-validation to come.
        location: names a row in messages.
        stated: the user has said how it is read.

    Raises:
        InputError: the target is constant, incomplete, infinite, holds dates, contradicts the task or has a class with
            fewer rows than folds.
    """
    if isinstance(reading, DateReading):
        value = f"{quote(column.name)} holds dates"
        remedy = "predict a number of days instead"
        raise InputError(sentence("the target must hold classes or numbers", value, remedy))
    _check_complete(column, reading)
    labels = _labels(column, reading)
    notices = () if stated else _check_words(column, labels, location)
    if len(labels.names) == 1:
        value = f"{quote(column.name)} is {quote(labels.names[0])} in every row"
        raise InputError(sentence("the target must take at least two values", value, "choose another column"))
    settled = task or _infer(column, reading, labels)
    if settled == "regression":
        return Target(_quantities(column, reading), settled, (), notices)
    codes, classes = _classes(column, labels, settled, folds)
    return Target(codes, settled, classes, notices)


def check_finite(values: npt.NDArray[np.float64], name: str) -> None:
    """Refuse infinite values.

    Raises:
        InputError: with the column and the number of rows.
    """
    rows = int(np.isinf(values).sum())
    if rows:
        value = f"column {quote(name)} has infinite values in {rows} row{'s' if rows > 1 else ''}"
        remedy = "correct them, or leave the cells empty to mark them as missing"
        raise InputError(sentence("numbers must be finite", value, remedy))


def _check_complete(column: Column, reading: ColumnReading) -> None:
    missing, words = int(column.missing.sum()), ""
    if isinstance(reading, NumberReading):
        values, _ = read_numbers(column, reading)
        check_finite(values, column.name)
        missing = int(np.isnan(values).sum())
        words = f" ({listed(reading.missing)} counted as missing)" if reading.missing else ""
    if missing:
        value = f"{quote(column.name)} is missing in {missing} of {len(column.missing)} rows{words}"
        remedy = "leave these rows out, or fill them in"
        raise InputError(sentence("the target must be known in every row", value, remedy))


def _labels(column: Column, reading: ColumnReading) -> _Labels:
    number = isinstance(reading, NumberReading) and not reading.truth
    text = column.text
    if isinstance(reading, NumberReading) and number and isinstance(column.cells, Text):
        text = Column(column.name, Numbers(read_numbers(column, reading)[0])).text
    return _Labels(column.name, text.labels, text.codes, text.counts, number)


def _check_words(column: Column, labels: _Labels, location: Location) -> tuple[Notice, ...]:
    """Take None, NA and the like for a class where they are as frequent as one, and refuse them elsewhere."""
    words = [position for position, label in enumerate(labels.names) if label in MISSING_WORDS]
    if not words or labels.quantities:
        return ()
    others = [count for position, count in enumerate(labels.counts) if position not in words]
    name, notices = quote(column.name), []
    for position in words:
        word, count = labels.names[position], int(labels.counts[position])
        if others and count < min(others):
            rows = np.flatnonzero(labels.codes == position)
            value = f"{name} has {cells_at(rows, (word,), location)}, {count} of {len(labels.codes)} rows"
            remedy = f"leave these rows out, or say --column {column.name}=level if {quote(word)} is a class"
            raise InputError(sentence("the target must be known in every row", value, remedy))
        message = f"{quote(word)} counts as a class of {name}, with {count} rows; leave them out if it means missing."
        notices.append(Notice(code="class_word", column=column.name, cells=count, message=message))
    return tuple(notices)


def _infer(column: Column, reading: ColumnReading, labels: _Labels) -> Task:
    distinct = len(labels.names)
    if distinct == 2:
        return "binary"
    if not labels.quantities:
        return "multiclass"
    assert isinstance(reading, NumberReading)  # noqa: S101 (for the type checker)
    values, _ = read_numbers(column, reading)
    whole = bool(np.all(values == np.round(values)))
    return "multiclass" if whole and distinct <= min(CODES, len(values) // 10) else "regression"


def _quantities(column: Column, reading: ColumnReading) -> npt.NDArray[np.float64]:
    """Read a regression target as float64, whatever was inferred from its cells."""
    if not isinstance(reading, NumberReading):
        choice = choose_form(column.text.labels, column.text.counts.tolist(), {})
        reading = NumberReading(decimal=choice.form.decimal, thousands=choice.form.thousands, unit=choice.unit)
    values, unreadable = read_numbers(column, reading)
    name = quote(column.name)
    if unreadable.rows.size:
        value = f"{name} has {quote(unreadable.values[0])}"
        remedy = "choose task='multiclass' or task='binary', or correct the cell"
        raise InputError(sentence("a regression target must hold numbers", value, remedy))
    check_finite(values, column.name)
    largest = float(np.abs(values).max())
    if largest > LARGEST:
        value = f"{name} has {largest:g}"
        raise InputError(sentence(f"a regression target must lie within ±{LARGEST:g}", value, "change its unit"))
    return values


def _classes(column: Column, labels: _Labels, task: Task, folds: int) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Give each row its class, and the classes' names in their order."""
    name, distinct = quote(column.name), len(labels.names)
    ordered = _order(labels.names)
    if (task == "binary") != (distinct == 2):
        needs = "exactly two classes" if task == "binary" else "at least three classes"
        value = f"{name} has {distinct}: {listed(ordered, 5)}"
        remedy = f"choose task={'binary' if distinct == 2 else 'multiclass'!r}, or none"
        raise InputError(sentence(f"a {task} target must have {needs}", value, remedy))
    rarest = len(labels.counts) - 1 - int(labels.counts[::-1].argmin())
    rows = int(labels.counts[rarest])
    if rows < folds:
        few = int((labels.counts < folds).sum())
        others = f" (and {few - 1} other classes have too few)" if few > 1 else ""
        value = f"class {quote(labels.names[rarest])} of {name} has {rows}{others}"
        remedy = "merge rare classes or leave their rows out" if task == "multiclass" else "collect more data"
        if labels.quantities:
            remedy += ", or choose task='regression' if these are quantities"
        raise InputError(sentence(f"each class needs at least {folds} rows, one for each fold", value, remedy))
    positions = np.array([ordered.index(label) for label in labels.names], dtype=np.int64)
    return positions[labels.codes], tuple(ordered)


def _order(labels: list[str]) -> list[str]:
    """Sort numbers by size, other names alphabetically; of two, the affirmative one comes last."""
    try:
        ordered = sorted(labels, key=lambda label: (float(label), label))
    except ValueError:
        ordered = sorted(labels)
    if len(ordered) == 2 and AFFIRMATIVE.get(ordered[0].casefold()) == ordered[1].casefold():
        ordered.reverse()
    return ordered
