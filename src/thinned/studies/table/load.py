"""One table, checked for a study: features, target and task."""

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api import types

from thinned.errors import InputError, sentence
from thinned.studies.table.columns import Column, Series
from thinned.studies.table.date_forms import choose_order
from thinned.studies.table.decisions import Decision
from thinned.studies.table.names import listed, quote
from thinned.studies.table.notices import Notice, cells_at
from thinned.studies.table.read_files import RawTable, read_frame, read_table
from thinned.studies.table.readings import (
    ColumnReading,
    DateReading,
    NumberReading,
    TextReading,
    read_dates,
    read_numbers,
)
from thinned.studies.table.settle import columns_of, decide, settled_frame
from thinned.studies.table.target import LARGEST, Task, Values, check_finite, read_target

__all__ = ["LARGEST", "Table", "Task", "load", "read_frame"]

_TOTALS = {"total", "totals", "grand total", "sum", "summe", "gesamt", "gesamtsumme", "insgesamt", "totale", "somme"}


@dataclass(frozen=True)
class Table:
    """A table that a study can use.

    Attributes:
        features: (rows, columns) without the target; numbers, times in UTC and categories.
        target: (rows,), float64 values for regression, else int64 codes: positions in ``classes``.
        task: what is predicted.
        classes: names of the classes as text: in the order of numbers if all are numbers, else alphabetical; ``()``
            for regression. A binary target's positive class is index 1: the affirmative one of yes/no, true/false,
            1/0, y/n and t/f in any case, else the second in order.
        target_name: the target's column.
        name: the file's name; of a data frame, ``attrs["name"]`` or "data frame".
        sha256: of names, kinds and values of all columns and of the task; the same for the same table read twice.
        group: the column of groups, which is no feature.
        groups: (rows,) int64 number of each row's group.
        time: the column of times, which is no feature.
        times: (rows,) int64 rank of each row's time; equal times have equal ranks.
        readings: how each column but the target was read, by name; an encoder applies them to every later table.
        notices: what the user should know of how the table was read.
    """

    features: pd.DataFrame
    target: Values
    task: Task
    classes: tuple[str, ...]
    target_name: str
    name: str
    sha256: str
    group: str | None = None
    groups: npt.NDArray[np.int64] | None = None
    time: str | None = None
    times: npt.NDArray[np.int64] | None = None
    readings: Mapping[str, ColumnReading] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()

    @property
    def read_as(self) -> dict[str, str]:
        """The kind of each feature: "number", "date", "level", "text", "empty" or "left out"."""
        return {name: reading.label for name, reading in self.readings.items()}

    @property
    def read_in_words(self) -> dict[str, str]:
        """How each feature was read, in words: marks, orders of dates, words for missing."""
        return {name: reading.sentence for name, reading in self.readings.items()}


class _Roles(NamedTuple):
    """The names of the columns that are no features."""

    target: str
    group: str | None
    time: str | None


def load(
    source: object,
    target: str,
    task: Task | None = None,
    *,
    folds: int = 5,
    group: str | None = None,
    time: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Table:
    """Read a table and settle its task.

    Without ``task``, a target of text, truth values or categories is a class. So is a target with two distinct values,
    and one of whole numbers with at most 20 distinct values and ten rows for each. Every other number is regression.
    None, NA and the like are a class where they have as many rows as another class.

    Args:
        source: the argument of :func:`thinned.studies.table.read_files.read_table`.
        target: name of the column to predict.
        task: overrides what would be inferred.
        folds: of the cross-validation to come; each class needs a row in each.
        group: column that says which rows belong together; no feature.
        time: column of numbers or dates that orders the rows; no feature.
        columns: readings by column name: "number", "level", "text", "date", "date:day-first", "date:month-first" or
            "drop"; cells that do not fit then count as missing. Other columns are read as their cells suggest.

    Raises:
        InputError: the source can't be read; the target is absent, constant, incomplete, infinite, contradicts ``task``
            or has a class with fewer rows than folds; a feature is infinite or a few of its cells are of another kind;
            there is no feature, or fewer than ``max(50, 10 * folds)`` rows; ``group`` or ``time`` can't be used.
    """
    if task is not None and task not in get_args(Task):
        raise InputError(sentence(f"task must be one of {', '.join(get_args(Task))}", f"got {quote(task)}"))
    raw = read_table(source)
    names = list(map(str, raw.frame.columns))
    roles = _roles(names, str(target), group, time)
    _check_size(names, roles, len(raw.frame), folds)
    overrides, cells = dict(columns or {}), columns_of(raw.frame)
    features = [column for column in cells if column.name not in roles]
    by_name = {column.name: column for column in cells if column.name in roles}
    decisions = _decisions(raw, features, list(by_name.values()), overrides)
    target_column, reading = by_name[roles.target], decisions[roles.target].reading
    found = read_target(target_column, reading, task, folds, raw.location, stated=roles.target in overrides)
    settled = settled_frame(cells, {name: decision.reading for name, decision in decisions.items()})
    readings = {column.name: decisions[column.name].reading for column in features}
    return Table(
        pd.DataFrame({column.name: settled[column.name] for column in features}, copy=False),
        found.values,
        found.task,
        found.classes,
        roles.target,
        raw.name,
        _digest(settled, roles.target, found.task, overrides, readings),
        roles.group,
        None if roles.group is None else _groups(by_name[roles.group]),
        roles.time,
        None if roles.time is None else _times(by_name[roles.time], settled[roles.time], decisions[roles.time]),
        readings,
        tuple(notice for column in cells for notice in decisions[column.name].notices) + found.notices,
    )


def _check_size(names: Sequence[str], roles: _Roles, rows: int, folds: int) -> None:
    """A table of nothing but its target, group and time is one that was read with the wrong separator."""
    _check_rows(rows, folds)
    if set(names) <= set(roles):
        others = [name for name in roles[1:] if name is not None]
        value = f"{quote(roles.target)} is the only column" + (f" besides {quote(others[0])}" if others else "")
        raise InputError(sentence("a study needs feature columns", value, "check the separator"))


def _decisions(
    raw: RawTable, features: Sequence[Column], keys: Sequence[Column], overrides: Mapping[str, str]
) -> dict[str, Decision]:
    """Decide how each column is read: all have a vote on the decimal mark, and features alone can be identifiers."""
    named = frozenset(column.name for column in features)
    decisions = decide([*features, *keys], overrides, raw.location, identifiers=named)
    _check_features(features, decisions, overrides, raw)
    return decisions


def _find(names: Sequence[str], wanted: str, role: str) -> str:
    """Give the wanted column's name, if the table has it."""
    if wanted in names:
        return wanted
    folded = {name.casefold(): name for name in reversed(names)}
    close = [folded[key] for key in difflib.get_close_matches(wanted.strip().casefold(), folded, n=3, cutoff=0.6)]
    remedy = f"perhaps {' or '.join(quote(name) for name in close)}; " if close else ""
    value = f"there is no column {quote(wanted)}"
    raise InputError(sentence(f"{role} must be a column of the table", value, f"{remedy}it has {listed(names, 20)}"))


def _roles(names: Sequence[str], target: str, group: str | None, time: str | None) -> _Roles:
    target = _find(names, target, "the target")
    if group is not None and time is not None:
        value = f"got group={quote(group)} and time={quote(time)}"
        raise InputError(sentence("rows are split by groups or by time", value, "choose one of them"))
    for role, name in (("group", group), ("time", time)):
        if name is not None and _find(names, str(name), f"the {role} column") == target:
            value = f"both are {quote(target)}"
            raise InputError(sentence(f"the {role} column must not be the target", value, "choose another column"))
    return _Roles(target, None if group is None else str(group), None if time is None else str(time))


def _check_rows(rows: int, folds: int) -> None:
    least = max(50, 10 * folds)
    if rows < least:
        requirement = f"a study of {folds} folds needs at least {least} rows"
        raise InputError(sentence(requirement, f"got {rows}", "collect more data"))


def _check_features(
    columns: Sequence[Column], decisions: Mapping[str, Decision], overrides: Mapping[str, str], raw: RawTable
) -> None:
    numbers = settled_frame(
        [column for column in columns if isinstance(decisions[column.name].reading, NumberReading)],
        {name: decision.reading for name, decision in decisions.items()},
    )
    for name in numbers.columns:
        check_finite(numbers[name].to_numpy(dtype=np.float64), str(name))
    for column in columns:
        text = column.text if column.name not in overrides and column.name not in numbers.columns else None
        if text is None or text.codes[-1] < 0:
            continue
        label = text.labels[text.codes[-1]]
        if label.casefold().strip(":. ") in _TOTALS and text.counts[text.codes[-1]] == 1:
            row = np.array([len(text.codes) - 1])
            value = f"column {quote(column.name)} has {cells_at(row, (label,), raw.location)}, the last row"
            remedy = f"remove that row, or say --column {column.name}=level"
            raise InputError(sentence("a row must hold one case, not the sum of the others", value, remedy))


def _check_known(missing: npt.NDArray[np.bool_], role: str, name: str) -> None:
    if missing.any():
        value = f"{quote(name)} is missing in {int(missing.sum())} of {len(missing)} rows"
        remedy = "leave these rows out, or fill them in"
        raise InputError(sentence(f"the {role} must be known in every row", value, remedy))


def _groups(column: Column) -> npt.NDArray[np.int64]:
    _check_known(column.missing, "group", column.name)
    return column.text.codes


def _times(column: Column, settled: Series, decision: Decision) -> npt.NDArray[np.int64]:
    """Rank a column of numbers or dates."""
    requirement, name = "the time column must hold numbers or dates", quote(column.name)
    if not isinstance(decision.reading, NumberReading | DateReading):
        _check_known(column.missing, "time", column.name)
        value = f"{name} has {quote(_neither(column))}"
        raise InputError(sentence(requirement, value, "write all dates in one form, as 2026-12-31"))
    _check_known(np.asarray(settled.isna(), dtype=bool), "time", column.name)
    if any(notice.code == "ambiguous_date" for notice in decision.notices):
        value = f"every date of {name}, as {quote(column.text.labels[0])}, fits both orders of day and month"
        remedy = f"say --column {column.name}=date:day-first or --column {column.name}=date:month-first"
        raise InputError(sentence("the order of the rows in time must be known", value, remedy))
    if isinstance(decision.reading, NumberReading):
        check_finite(settled.to_numpy(dtype=np.float64), column.name)
    return pd.factorize(settled, sort=True)[0].astype(np.int64)


def _neither(column: Column) -> str:
    """Give a cell for which a column holds neither numbers nor dates."""
    order = choose_order(column.text.labels, column.text.counts).order
    mistakes = read_dates(column, DateReading(order=order))[1], read_numbers(column, NumberReading())[1]
    fewest = min(mistakes, key=lambda mistake: len(mistake.rows))
    return (fewest.values or tuple(column.text.labels))[0]


def _digest(
    settled: pd.DataFrame, target: str, task: Task, overrides: Mapping[str, str], readings: Mapping[str, ColumnReading]
) -> str:
    """SHA-256 of what the study sees; each part is preceded by its length, so that no two tables share a stream."""
    digest = hashlib.sha256()

    def add(data: bytes) -> None:
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)

    stated = [f"{name}={kind}" for name, kind in sorted(overrides.items())]
    for part in ("thinned table 1", target, task, *stated):
        add(part.encode("utf-8", "surrogatepass"))
    for name in settled.columns:
        column = settled[name]
        add(str(name).encode("utf-8", "surrogatepass"))
        if types.is_bool_dtype(column.dtype) or types.is_numeric_dtype(column.dtype):
            add(b"integer" if types.is_integer_dtype(column.dtype) else b"number")
            add(np.ascontiguousarray(column.to_numpy()).tobytes())
        else:
            # earlier versions hashed texts: no study goes on with networks that saw other columns
            words = b"text by its words" if isinstance(readings.get(name), TextReading) else b"text"
            add(b"date" if types.is_datetime64_any_dtype(column.dtype) else words)
            codes, labels = pd.factorize(column)
            add(codes.astype("<i8").tobytes())
            add("\0".join(f"{type(label).__name__}:{label}" for label in labels).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
