"""One column of a table: its cells as numbers, times or text, each form made once."""

import datetime
import decimal
import numbers
import uuid
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pandas.api import types
from pyarrow import compute

from thinned.errors import InputError, sentence
from thinned.studies.table.names import quote

__all__ = ["MISSING", "MISSING_WORDS", "Cells", "Column", "Dates", "Numbers", "Series", "Text", "column_of"]

Series: TypeAlias = "pd.Series[Any]"
Codes: TypeAlias = npt.NDArray[np.int64]
Objects: TypeAlias = npt.NDArray[np.object_]

# Text that stands for "no value" in every column: blanks, and what spreadsheets and other programs write for an error.
MISSING: tuple[str, ...] = ("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN")
MISSING += ("...", "<NA>", "?", "NaN", "nan")
# Words that stand for "no value" among numbers and dates. In a column of words they are words: a class may be called
# "None", and a region "NA".
MISSING_WORDS = ("NA", "N/A", "n/a", "NULL", "null", "None", "na", "n.a.", "N.A.", "none", "-", "--")
SCALARS = (str, bool, np.bool_, numbers.Real, decimal.Decimal, datetime.date, datetime.time, uuid.UUID)
ABSENT = (type(None), type(pd.NA), type(pd.NaT))
QUANTITIES = ("boolean", "integer", "floating", "mixed-integer-float", "decimal")


class Numbers(NamedTuple):
    """Cells that their source holds as numbers or truth values.

    Attributes:
        values: ``(rows,)``, of bool, integer or float; NaN where a cell is missing.
        truth: the cells are truth values.
    """

    values: npt.NDArray[np.generic]
    truth: bool = False


class Dates(NamedTuple):
    """Cells that their source holds as times: UTC, NaT where a cell is missing."""

    times: pd.DatetimeIndex


class Text:
    """Cells of text, stripped.

    Args:
        texts: ``(rows,)``, null where a cell is missing.
        settled: the column is known to hold levels or text, whatever its cells look like.
    """

    def __init__(self, texts: pa.Array, *, settled: bool = False) -> None:
        self.texts = texts
        self.settled = settled

    @classmethod
    def from_labels(cls, labels: list[str | None], codes: Codes, *, settled: bool = False) -> "Text":
        """Take ``labels[code]`` for each row; code -1 is a missing cell."""
        known = _stripped(_arrow([*labels, None]))
        return cls(known.take(pa.array(np.where(codes < 0, len(labels), codes))), settled=settled)

    @cached_property
    def _dictionary(self) -> pa.DictionaryArray:
        return self.texts.dictionary_encode()

    @cached_property
    def labels(self) -> list[str]:
        """The distinct texts, in the order in which they first appear."""
        labels: list[str] = self._dictionary.dictionary.to_pylist()
        return labels

    @cached_property
    def codes(self) -> Codes:
        """``(rows,)``: the position of each cell's text among the labels; -1 where it is missing."""
        return np.asarray(self._dictionary.indices.fill_null(-1), dtype=np.int64)

    @cached_property
    def counts(self) -> Codes:
        """The number of rows of each label."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.labels)).astype(np.int64)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words of :data:`MISSING_WORDS` among the cells."""
        present = set(self.texts.filter(self._are(MISSING_WORDS)).unique().to_pylist())
        return tuple(word for word in MISSING_WORDS if word in present)

    def _are(self, words: tuple[str, ...]) -> pa.Array:
        return compute.is_in(self.texts, value_set=pa.array(words, pa.string()))

    def matches(self, pattern: str) -> npt.NDArray[np.bool_]:
        """``(rows,)``: the cells that match a regular expression; missing cells don't."""
        return np.asarray(compute.match_substring_regex(self.texts, pattern).fill_null(False), dtype=bool)

    def take(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Give each row the value of its label, NaN where the cell is missing."""
        return np.append(values, np.nan)[self.codes]

    def without(self, words: tuple[str, ...]) -> "Text":
        """Give the cells with these words missing."""
        known = self._are(words)
        if not compute.any(known).as_py():
            return self
        return Text(compute.if_else(known, pa.scalar(None, pa.string()), self.texts), settled=self.settled)


Cells: TypeAlias = Numbers | Dates | Text


class Column:
    """A named column.

    Attributes:
        name: its name.
        cells: what its source holds.
    """

    def __init__(self, name: str, cells: Cells) -> None:
        self.name = name
        self.cells = cells

    @cached_property
    def text(self) -> Text:
        """The cells as text; 2.0 and 2 are the same, because a missing neighbour turns integers into floats."""
        if isinstance(self.cells, Text):
            return self.cells
        values = self.cells.times if isinstance(self.cells, Dates) else _labelled(self.cells)
        codes, labels = pd.factorize(values)
        return Text.from_labels([_label(label) for label in labels], codes.astype(np.int64))

    @cached_property
    def missing(self) -> npt.NDArray[np.bool_]:
        """``(rows,)``: the cells that are missing."""
        match self.cells:
            case Text(texts=texts):
                return np.asarray(texts.is_null(), dtype=bool)
            case Dates(times=times):
                return np.asarray(times.isna(), dtype=bool)
            case Numbers(values=values):
                return np.asarray(pd.isna(values), dtype=bool)


def column_of(series: Series, name: str | None = None) -> Column:
    """Read the cells of a pandas column.

    Args:
        series: the cells.
        name: the column's name; None takes that of the series.

    Raises:
        InputError: the column holds lists, bytes, complex numbers or other things than scalars.
    """
    name = str(series.name) if name is None else name
    return Column(name, _cells(series, name))


def _cells(series: Series, name: str) -> Cells:  # noqa: PLR0911 (one for each kind of dtype)
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        labels = series.cat.categories.to_numpy(dtype=object)
        _check_scalars(labels, name)
        codes = np.asarray(series.cat.codes, dtype=np.int64)
        return Text.from_labels([_label(label) for label in labels], codes, settled=True)
    if types.is_bool_dtype(dtype):
        if series.isna().any():
            return Numbers(series.to_numpy(np.float64, na_value=np.nan), truth=True)
        return Numbers(series.to_numpy(dtype=bool), truth=True)
    if types.is_numeric_dtype(dtype) and not types.is_complex_dtype(dtype):
        return Numbers(_numeric_array(series))
    if isinstance(dtype, pd.ArrowDtype) and pa.types.is_date(dtype.pyarrow_dtype):
        return Dates(_utc(series.astype("datetime64[us]")))
    if types.is_datetime64_any_dtype(dtype):
        return Dates(_utc(series))
    if types.is_timedelta64_dtype(dtype):
        return Numbers(series.dt.total_seconds().to_numpy(dtype=np.float64))
    if types.is_object_dtype(dtype):
        return _object_cells(series, name)
    if types.is_string_dtype(dtype):
        return Text(_stripped(_one_array(series)))
    raise _unreadable(name, "complex numbers" if types.is_complex_dtype(dtype) else f"values of type {dtype}")


def _arrow(texts: list[str | None]) -> pa.Array:
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:  # a half of a surrogate pair is no text
        return pa.array([t and t.encode("utf-8", "backslashreplace").decode() for t in texts], pa.string())


def _one_array(series: Series) -> pa.Array:
    try:
        cells = pa.array(series, from_pandas=True)
    except UnicodeEncodeError:
        return _arrow(series.astype(object).where(series.notna(), None).tolist())
    if isinstance(cells, pa.ChunkedArray):
        cells = cells.combine_chunks()
    return cells.cast(pa.string())


def _stripped(texts: pa.Array) -> pa.Array:
    """Strip the cells, and make null of those that stand for "no value" in every column."""
    texts = compute.utf8_trim_whitespace(texts)
    absent = compute.is_in(texts, value_set=pa.array(MISSING, pa.string()))
    return compute.if_else(absent, pa.scalar(None, pa.string()), texts)


def _utc(series: Series) -> pd.DatetimeIndex:
    if isinstance(series.dtype, pd.ArrowDtype):
        series = series.astype("datetime64[us, UTC]" if series.dt.tz is not None else "datetime64[us]")
    return pd.DatetimeIndex(pd.to_datetime(series, utc=True))


def _numeric_array(series: Series) -> npt.NDArray[np.generic]:
    """Keep integers; make float64 with NaN of nullable, sparse and Arrow numbers."""
    if isinstance(series.dtype, np.dtype):
        return series.to_numpy()
    if types.is_integer_dtype(series.dtype) and not series.isna().any():
        return series.to_numpy(dtype=np.int64)
    return series.to_numpy(dtype=np.float64, na_value=np.nan)


def _object_cells(series: Series, name: str) -> Cells:
    """Find out what a column of objects holds."""
    cells = series.to_numpy(dtype=object)
    _check_scalars(cells, name)
    kind = types.infer_dtype(cells, skipna=True)
    if kind in QUANTITIES:
        absent = np.asarray(pd.isna(cells), dtype=bool)
        if kind == "boolean" and not absent.any():
            return Numbers(cells.astype(bool), truth=True)
        return Numbers(_floats(np.where(absent, np.nan, cells)), truth=kind == "boolean")
    if kind in {"date", "datetime", "datetime64"}:
        return Dates(_utc(pd.Series(_moments(cells))))
    codes, labels = pd.factorize(cells)
    return Text.from_labels([_label(label) for label in labels], codes.astype(np.int64))


def _moments(cells: Objects) -> pd.DatetimeIndex:
    """Make times of dates and times."""
    try:
        return pd.DatetimeIndex(pd.to_datetime(pd.Series(cells, dtype=object), utc=True))
    except pd.errors.OutOfBoundsDatetime:  # pandas 2 counts nanoseconds, until the year 2262
        utc = [
            None if pd.isna(cell) else cell.astimezone(datetime.UTC).replace(tzinfo=None) if _has_zone(cell) else cell
            for cell in cells
        ]
        return pd.DatetimeIndex(np.array(utc, dtype="datetime64[us]")).tz_localize("UTC")


def _has_zone(cell: object) -> bool:
    return isinstance(cell, datetime.datetime) and cell.tzinfo is not None


def _floats(cells: Objects) -> npt.NDArray[np.float64]:
    """Make float64 of numbers of any type; those beyond all floats become infinite."""
    try:
        return cells.astype(np.float64)
    except OverflowError:
        return np.array([_float(cell) for cell in cells], dtype=np.float64)


def _float(cell: object) -> float:
    try:
        return float(cell)  # type: ignore[arg-type]  # the cells are numbers
    except OverflowError:
        return np.inf


def _labelled(cells: Numbers) -> npt.NDArray[np.generic] | Objects:
    """Truth values with missing neighbours are held as numbers; their labels are those of truth values."""
    if not cells.truth or cells.values.dtype == bool:
        return cells.values
    truths = np.asarray(cells.values == 1.0, dtype=object)
    truths[np.isnan(cells.values.astype(np.float64))] = None
    return truths


def _check_scalars(cells: Objects, name: str) -> None:
    """Refuse cells that are lists, mappings, arrays, bytes and the like."""
    for kind in sorted(set(map(type, cells)), key=str):
        if not issubclass(kind, SCALARS) and kind not in ABSENT:
            raise _unreadable(name, f"{kind.__name__} values")


def _unreadable(name: str, value: str) -> InputError:
    requirement = "a column must hold numbers, text, dates or truth values"
    remedy = "leave it out, or spread it over several columns"
    return InputError(sentence(requirement, f"column {quote(name)} holds {value}", remedy))


def _label(value: object) -> str:
    if isinstance(value, float | np.floating) and value.is_integer():
        return str(int(value))
    return str(value).strip()
