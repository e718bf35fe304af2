"""One table, checked for a study: features, target and task."""

import difflib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from pandas.api import types

from thinned.errors import InputError, sentence
from thinned.studies.table.columns import as_dates, as_numbers, as_text, check_finite, is_number, listed, quote, settle
from thinned.studies.table.read_csv import read_frame

__all__ = ["Table", "Task", "load", "read_frame"]

Task = Literal["binary", "multiclass", "regression"]

AFFIRMATIVE = {"yes": "no", "true": "false", "1": "0", "y": "n", "t": "f"}
CODES = 20  # integers of more distinct values than this are quantities, not class codes
LARGEST = 1e30  # squares of regression targets below it are far from overflow


@dataclass(frozen=True)
class Table:
    """A table that a study can use.

    Attributes:
        features: (rows, columns) without the target; numbers, datetimes and categories, settled by all rows so that
            each fold reads a column in the same way.
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
    """

    features: pd.DataFrame
    target: np.ndarray[Any, Any]
    task: Task
    classes: tuple[str, ...]
    target_name: str
    name: str
    sha256: str
    group: str | None = None
    groups: np.ndarray[Any, Any] | None = None
    time: str | None = None
    times: np.ndarray[Any, Any] | None = None


def load(
    source: Any,
    target: str,
    task: Task | None = None,
    *,
    folds: int = 5,
    group: str | None = None,
    time: str | None = None,
) -> Table:
    """Read a table and settle its task.

    Without ``task``, a target of text, truth values or categories is a class. So is a target with two distinct values,
    and one of whole numbers with at most 20 distinct values and ten rows for each. Every other target of numbers is a
    regression target. Text in which every cell is a number counts as numbers.

    Args:
        source: what `read_frame` takes.
        target: name of the column to predict.
        task: overrides what would be inferred.
        folds: of the cross-validation to come; each class needs a row in each.
        group: column that says which rows belong together; it is no feature.
        time: column of numbers or dates by which rows are in order; it is no feature.

    Raises:
        InputError: the source can't be read; the target is absent, constant, incomplete, infinite, contradicts ``task``
            or has a class with fewer rows than folds; a feature is infinite; there is no feature; there are fewer
            than ``max(50, 10 * folds)`` rows; both ``group`` and ``time`` are given; or one of them is absent,
            incomplete or the target, or the times are neither numbers nor dates.
    """
    if task is not None and task not in get_args(Task):
        raise InputError(sentence(f"task must be one of {', '.join(get_args(Task))}", f"got {quote(task)}"))
    frame = read_frame(source)
    name = Path(os.fspath(source)).name if isinstance(source, (str, os.PathLike)) else _frame_name(source)
    target = _find(frame, str(target), "the target")
    group, time = _ordering(frame, target, group, time)
    _check_rows(frame, folds)
    features = _features(frame, target, time if group is None else group)
    column = frame[target]
    _check_complete(column)
    settled = task or _infer(column)
    classes: tuple[str, ...] = ()
    if settled == "regression":
        values = _quantities(column)
    else:
        values, classes = _codes(column, settled, folds)
    return Table(
        features,
        values,
        settled,
        classes,
        target,
        name,
        _digest(frame, target, settled),
        group,
        None if group is None else _groups(frame[group]),
        time,
        None if time is None else _times(frame[[time]]),
    )


def _frame_name(source: Any) -> str:
    """What a data frame calls itself in ``attrs["name"]``."""
    return str(getattr(source, "attrs", {}).get("name", "data frame"))


def _find(frame: pd.DataFrame, wanted: str, what: str) -> str:
    """The wanted column's name, if the frame has it."""
    names = [str(name) for name in frame.columns]
    if wanted in names:
        return wanted
    folded = {name.casefold(): name for name in reversed(names)}
    close = [folded[key] for key in difflib.get_close_matches(wanted.strip().casefold(), folded, n=3, cutoff=0.6)]
    remedy = f"perhaps {' or '.join(quote(name) for name in close)}; " if close else ""
    seen = f"there is no column {quote(wanted)}"
    raise InputError(sentence(f"{what} must be a column of the table", seen, f"{remedy}it has {listed(names, 20)}"))


def _ordering(frame: pd.DataFrame, target: str, group: str | None, time: str | None) -> tuple[str | None, str | None]:
    """The columns of groups and of times, if there are such."""
    if group is not None and time is not None:
        seen = f"got group={quote(group)} and time={quote(time)}"
        raise InputError(sentence("rows are split by groups or by time", seen, "choose one of them"))
    for what, name in (("group", group), ("time", time)):
        if name is None:
            continue
        _find(frame, str(name), f"the {what} column")
        if str(name) == target:
            seen = f"both are {quote(target)}"
            raise InputError(sentence(f"the {what} column must not be the target", seen, "choose another column"))
        missing = int(as_text(frame[str(name)]).isna().sum())
        if missing:
            requirement = f"the {what} must be known in every row"
            seen = f"{quote(str(name))} is missing in {missing} of {len(frame)} rows"
            raise InputError(sentence(requirement, seen, "leave these rows out, or fill them in"))
    return None if group is None else str(group), None if time is None else str(time)


def _groups(column: "pd.Series[Any]") -> np.ndarray[Any, Any]:
    return pd.factorize(as_text(column))[0].astype(np.int64)


def _times(frame: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Ranks of a column of numbers or dates."""
    column = settle(frame).iloc[:, 0]
    if is_number(column):
        check_finite(column.to_numpy(dtype=np.float64), str(column.name))
    elif not types.is_datetime64_any_dtype(column.dtype):
        stranger = as_dates(column, "")[1] or str(as_text(column).iloc[0])
        seen = f"{quote(str(column.name))} has {quote(stranger)}"
        remedy = "write all dates in one form, as 2026-12-31"
        raise InputError(sentence("the time column must hold numbers or dates", seen, remedy))
    return pd.factorize(column, sort=True)[0].astype(np.int64)


def _check_rows(frame: pd.DataFrame, folds: int) -> None:
    least = max(50, 10 * folds)
    if len(frame) < least:
        raise InputError(
            sentence(f"a study of {folds} folds needs at least {least} rows", f"got {len(frame)}", "collect more data")
        )


def _features(frame: pd.DataFrame, target: str, other: str | None) -> pd.DataFrame:
    features = frame.drop(columns=[target, other] if other is not None else target)
    if features.shape[1] == 0:
        seen = f"{quote(target)} is the only column" + (f" besides {quote(other)}" if other is not None else "")
        raise InputError(sentence("a study needs feature columns", seen, "check the separator"))
    features = settle(features)
    for name in features.columns:
        if is_number(features[name]):
            check_finite(features[name].to_numpy(dtype=np.float64), str(name))
    return features


def _check_complete(column: "pd.Series[Any]") -> None:
    """Refuse a target that is missing somewhere, constant or a time."""
    name = quote(str(column.name))
    if types.is_datetime64_any_dtype(column.dtype):
        raise InputError(
            sentence(
                "the target must hold classes or numbers", f"{name} holds dates", "predict a number of days instead"
            )
        )
    missing = int(as_text(column).isna().sum())
    if missing:
        raise InputError(
            sentence(
                "the target must be known in every row",
                f"{name} is missing in {missing} of {len(column)} rows",
                "leave these rows out, or fill them in",
            )
        )
    if as_text(column).nunique() == 1:
        raise InputError(
            sentence(
                "the target must take at least two values",
                f"{name} is {quote(as_text(column).iloc[0])} in every row",
                "choose another column",
            )
        )


def _is_label(column: "pd.Series[Any]") -> bool:
    """Whether values are names and not quantities, by dtype or because some are no numbers."""
    dtype = column.dtype
    truth = types.is_bool_dtype(dtype) or types.infer_dtype(column) == "boolean"
    return truth or isinstance(dtype, pd.CategoricalDtype) or as_numbers(column)[1] is not None


def _infer(column: "pd.Series[Any]") -> Task:
    distinct = as_text(column).nunique()
    if distinct == 2:
        return "binary"
    if _is_label(column):
        return "multiclass"
    values, _ = as_numbers(column)
    whole = bool(np.all(values == np.round(values)))
    return "multiclass" if whole and distinct <= min(CODES, len(column) // 10) else "regression"


def _quantities(column: "pd.Series[Any]") -> np.ndarray[Any, Any]:
    """A regression target as float64."""
    values, stranger = as_numbers(column)
    name = quote(str(column.name))
    if stranger is not None:
        raise InputError(
            sentence(
                "a regression target must hold numbers",
                f"{name} has {quote(stranger)}",
                "choose task='multiclass' or task='binary', or correct the cell",
            )
        )
    check_finite(values, str(column.name))
    largest = float(np.abs(values).max())
    if largest > LARGEST:
        raise InputError(
            sentence(f"a regression target must lie within ±{LARGEST:g}", f"{name} has {largest:g}", "change its unit")
        )
    return values


def _codes(column: "pd.Series[Any]", task: Task, folds: int) -> tuple[np.ndarray[Any, Any], tuple[str, ...]]:
    """A classification target as int64 codes, and the classes' names in their order."""
    if is_number(column):
        check_finite(as_numbers(column)[0], str(column.name))
    texts = as_text(column)
    counts = texts.value_counts()
    name = quote(str(column.name))
    if (task == "binary") != (len(counts) == 2):
        needs = "exactly two classes" if task == "binary" else "at least three classes"
        other = "binary" if len(counts) == 2 else "multiclass"
        seen = f"{name} has {len(counts)}: {listed(_order([str(label) for label in counts.index]), 5)}"
        raise InputError(sentence(f"a {task} target must have {needs}", seen, f"choose task={other!r}, or none"))
    rarest, rows = str(counts.index[-1]), int(counts.iloc[-1])
    if rows < folds:
        few = int((counts < folds).sum())
        others = f" (and {few - 1} other classes have too few)" if few > 1 else ""
        seen = f"class {quote(rarest)} of {name} has {rows}{others}"
        remedy = "merge rare classes or leave their rows out" if task == "multiclass" else "collect more data"
        if as_numbers(column)[1] is None:
            remedy += ", or choose task='regression' if these are quantities"
        raise InputError(sentence(f"each class needs at least {folds} rows, one for each fold", seen, remedy))
    classes = _order([str(label) for label in counts.index])
    codes = pd.Index(classes).get_indexer(pd.Index(texts, dtype=object))
    return codes.astype(np.int64), tuple(classes)


def _order(labels: list[str]) -> list[str]:
    """Numbers by size, other names alphabetically; of two, the affirmative one last."""
    try:
        ordered = sorted(labels, key=lambda label: (float(label), label))
    except ValueError:
        ordered = sorted(labels)
    if len(ordered) == 2 and AFFIRMATIVE.get(ordered[0].casefold()) == ordered[1].casefold():
        ordered.reverse()
    return ordered


def _digest(frame: pd.DataFrame, target: str, task: Task) -> str:
    """SHA-256 of what the study sees; each part is preceded by its length, so that no two tables share a stream."""
    digest = hashlib.sha256()

    def add(data: bytes) -> None:
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)

    for part in ("thinned table 1", target, task):
        add(part.encode())
    for name in frame.columns:
        column = frame[name]
        add(str(name).encode("utf-8", "surrogatepass"))
        if is_number(column):
            add(b"integer" if types.is_integer_dtype(column.dtype) else b"number")
            add(np.ascontiguousarray(column.to_numpy()).tobytes())
        else:
            add(b"date" if types.is_datetime64_any_dtype(column.dtype) else b"text")
            codes, labels = pd.factorize(column)
            add(codes.astype("<i8").tobytes())
            add("\0".join(f"{type(label).__name__}:{label}" for label in labels).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
