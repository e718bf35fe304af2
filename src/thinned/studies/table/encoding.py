"""Columns of a table to one float32 matrix, fitted on the training rows only.

Each input column is read in one of four ways, settled by what the training rows hold:

| reading | when | output columns |
|---|---|---|
| number | numbers, truth values, or text in which every cell is a number | value, normal score of its rank, missing |
| date | dates, or text in which skrub recognises one date format | parts of the date, missing |
| level | text or category with at most 64 values | one 0/1 column per level, rare levels together, missing |
| text | text with more values | 32 hashed character n-grams |

A number may have its piecewise-linear encoding besides (:mod:`thinned.studies.table.piecewise_linear`).

All but the 0/1 columns of levels are then scaled to mean 0 and deviation 1, constant ones are dropped, and everything
is clipped to ±10. The pieces of a number share one scale, by which their variances sum to 1: with unit variance each,
a number would weigh as much as 16, and its steps as much as its trend.

The state is text, numbers and arrays, so a saved encoder can be read without trusting any code.
"""

import zipfile
import zlib
from io import BytesIO
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from pandas.api import types

from thinned.errors import InputError, sentence
from thinned.studies.table.columns import (
    FORMATS,
    as_dates,
    as_numbers,
    as_text,
    check_finite,
    check_names,
    is_number,
    listed,
    plain,
    quote,
    settle,
)
from thinned.studies.table.piecewise_linear import edges, pieces

__all__ = ["Encoder", "kind_of"]

Array = np.ndarray[Any, Any]
State = dict[str, Any]

LEVELS = 64  # text columns with more distinct values are hashed
RARE = 5  # levels of fewer training rows share one column
HASHES = 32
QUANTILES = 1000
SAMPLE = 100_000  # rows from which quantiles are taken
LIMIT = 10.0
LEAST = 1e-157  # no deviation is smaller, nor does a quotient by a larger one overflow
UNPACKED = 1 << 30  # bytes: a state of tens of thousands of columns is far smaller
HUGE = 1e150  # differences of values below it can't overflow, nor can ratios of differences of values above 1 / HUGE


def _normal_scores(values: Array, quantiles: Array, rows: int) -> Array:
    """The standard normal deviate of each value's rank among the training rows; ties get their middle rank.

    scikit-learn's QuantileTransformer sends every value tied with the smallest to -5.2, so in a column of counts the
    zeros, often most of the rows, become outliers. Here ranks stay half a row away from 0 and 1.
    """
    from scipy.special import ndtri  # noqa: PLC0415 - a study's dependency

    ranks = np.linspace(0.0, 1.0, len(quantiles))
    upper = np.interp(values, quantiles, ranks)
    lower = np.interp(-values, -quantiles[::-1], -ranks[::-1])
    edge = 0.5 / rows
    scores: Array = ndtri(np.clip(0.5 * (upper - lower), edge, 1.0 - edge))
    return scores


class Number:
    """The value, and the normal score of its rank; missing values get the median.

    A column of its own says what is missing, if anything was in the training rows.
    The value serves where a network should see distances, the rank where a few large values would hide the others.
    Both together did better than either on the bundled table (docs/negative-results.md).
    """

    kind: ClassVar = "number"
    fields: ClassVar[dict[str, type]] = {
        "median": float,
        "missing": bool,
        "rows": int,
        "quantiles": np.ndarray,
        "piecewise": bool,
    }
    unit = False

    def __init__(self, name: str, median: float, missing: bool, rows: int, quantiles: Array, piecewise: bool):
        self.name, self.median, self.missing, self.rows, self.quantiles = name, median, missing, rows, quantiles
        self.ranked = len(np.unique(quantiles)) > 2  # of two values the rank says nothing new
        self.piecewise = piecewise
        self._edges = edges(quantiles) if piecewise else np.zeros(0)
        self.pieces = max(len(self._edges) - 1, 0)
        self.names = [name, *[f"{name} rank"] * self.ranked, *[f"{name} is missing"] * missing]
        self.names += [f"{name} piece {i + 1}" for i in range(self.pieces)]

    @classmethod
    def fit(cls, column: "pd.Series[Any]", piecewise: bool) -> Self:
        values = _numbers(column)
        present = values[~np.isnan(values)]
        rows = len(present)
        if rows > SAMPLE:
            present = np.random.default_rng(0).choice(present, SAMPLE, replace=False, shuffle=False)
        quantiles = np.quantile(present, np.linspace(0.0, 1.0, min(QUANTILES, rows)))
        # interpolation rounds, which may leave neighbours out of order by one unit in the last place
        quantiles = np.maximum.accumulate(quantiles)
        return cls(str(column.name), float(np.median(present)), rows < len(values), rows, quantiles, piecewise)

    def transform(self, column: "pd.Series[Any]") -> Array:
        values = _numbers(column)
        absent = np.isnan(values)
        values = np.where(absent, self.median, values)
        rank = [_normal_scores(values, self.quantiles, self.rows)] if self.ranked else []
        return np.column_stack([values, *rank, *[absent] * self.missing, pieces(values, self._edges)])


class Date:
    """Year, month, day, weekday, hour and days since 1970, in UTC; a missing date gets the training means."""

    kind: ClassVar = "date"
    fields: ClassVar[dict[str, type]] = {"form": str, "missing": bool, "means": np.ndarray}
    unit, pieces = False, 0
    parts: ClassVar = ["year", "month", "day", "weekday", "hour", "days since 1970"]

    def __init__(self, name: str, form: str, missing: bool, means: Array):
        self.name, self.form, self.missing, self.means = name, form, missing, means
        self.names = [f"{name} {part}" for part in self.parts] + ([f"{name} is missing"] if missing else [])

    @classmethod
    def fit(cls, column: "pd.Series[Any]", form: str) -> Self:
        parts, absent = cls._parts(_dates(column, form))
        return cls(str(column.name), form, bool(absent.any()), np.nanmean(parts, axis=0))

    @staticmethod
    def _parts(times: "pd.Series[Any]") -> tuple[Array, Array]:
        at = times.dt
        parts = [part.to_numpy(dtype=np.float64) for part in (at.year, at.month, at.day, at.day_of_week, at.hour)]
        stamps = at.tz_localize(None).to_numpy(dtype="datetime64[us]")  # nanoseconds would end in 2262
        parts.append((stamps - np.datetime64(0, "us")) / np.timedelta64(1, "D"))
        return np.column_stack(parts), times.isna().to_numpy()

    def transform(self, column: "pd.Series[Any]") -> Array:
        parts, absent = self._parts(_dates(column, self.form))
        parts = np.where(absent[:, None], self.means, parts)
        return np.column_stack([parts, absent]) if self.missing else parts


class Level:
    """One 0/1 column per level; rare and unseen levels share one (if training had rare ones), missing has its own."""

    kind: ClassVar = "level"
    fields: ClassVar[dict[str, type]] = {"levels": list, "rare": bool, "missing": bool}
    unit, pieces = True, 0

    def __init__(self, name: str, levels: list[str], rare: bool, missing: bool):
        self.name, self.levels, self.rare, self.missing = name, levels, rare, missing
        self.names = [f"{name} = {level}" for level in levels]
        self.names += [f"{name} is rare"] * rare + [f"{name} is missing"] * missing

    @classmethod
    def fit(cls, column: "pd.Series[Any]") -> Self:
        texts = as_text(column)
        counts = texts.value_counts()
        levels = sorted(str(level) for level, count in counts.items() if count >= RARE)
        return cls(str(column.name), levels, len(levels) < len(counts), bool(texts.isna().any()))

    def transform(self, column: "pd.Series[Any]") -> Array:
        texts = as_text(column)
        codes = pd.Index(self.levels, dtype=object).get_indexer(pd.Index(texts, dtype=object))
        absent = texts.isna().to_numpy()
        onehot = codes[:, None] == np.arange(len(self.levels))
        extra = [(codes < 0) & ~absent] * self.rare + [absent] * self.missing
        return np.column_stack([onehot, *extra]).astype(np.float64)


class Text:
    """Character n-grams hashed into a few columns: similar texts get similar rows, and nothing needs to be stored."""

    kind: ClassVar = "text"
    fields: ClassVar[dict[str, type]] = {}
    unit, pieces = False, 0

    def __init__(self, name: str):
        self.name = name
        self.names = [f"{name} hash {i}" for i in range(HASHES)]

    @classmethod
    def fit(cls, column: "pd.Series[Any]") -> Self:
        return cls(str(column.name))

    def transform(self, column: "pd.Series[Any]") -> Array:
        from sklearn.feature_extraction.text import HashingVectorizer  # noqa: PLC0415 - a study's dependency

        codes, labels = pd.factorize(as_text(column))
        table = np.zeros((len(labels) + 1, HASHES))  # the last row, code -1, is for missing cells
        if len(labels):
            hasher = HashingVectorizer(analyzer="char_wb", ngram_range=(2, 4), n_features=HASHES, lowercase=True)
            table[:-1] = hasher.transform(labels).toarray()
        return table[codes]


Reading = Number | Date | Level | Text
READINGS: dict[str, type[Number] | type[Date] | type[Level] | type[Text]] = {
    reading.kind: reading for reading in (Number, Date, Level, Text)
}


def kind_of(column: "pd.Series[Any]") -> str:
    """How a settled column is read: "number", "date", "level", "text", or "empty" if every cell is missing."""
    if column.isna().all():
        return "empty"
    if is_number(column):
        return Number.kind
    if types.is_datetime64_any_dtype(column.dtype):
        return Date.kind
    return Level.kind if column.nunique() <= LEVELS else Text.kind


def _reading(column: "pd.Series[Any]", form: str, piecewise: bool) -> Reading | None:
    """What reads a settled training column; ``None`` if every cell is missing."""
    kind = kind_of(column)
    if kind == "empty":
        return None
    if kind == Number.kind:
        return Number.fit(column, piecewise)
    return Date.fit(column, form) if kind == Date.kind else READINGS[kind].fit(column)  # type: ignore[call-arg]


def _scale(reading: Reading, block: Array) -> tuple[Array, Array, Array]:
    """Of a reading's training columns: which vary, means and deviations.

    The pieces of a number share the root of their summed variances.
    """
    varying = block.min(axis=0) < block.max(axis=0)
    if reading.unit:
        return varying, np.zeros(block.shape[1]), np.ones(block.shape[1])
    deviations = block.std(axis=0)
    own = deviations[len(deviations) - reading.pieces :]
    own[:] = np.sqrt(np.square(own).sum())
    return varying, block.mean(axis=0), deviations


def _numbers(column: "pd.Series[Any]") -> Array:
    """The column as float64 with NaN where missing.

    Raises:
        InputError: a cell is not a number, or is infinite.
    """
    values, stranger = as_numbers(column)
    if stranger is not None:
        raise _changed(column, "numbers", stranger, "correct the cell, or leave it empty to mark it as missing")
    check_finite(values, str(column.name))
    return np.where(np.abs(values) < 1.0 / HUGE, 0.0, np.clip(values, -HUGE, HUGE))


def _dates(column: "pd.Series[Any]", form: str) -> "pd.Series[Any]":
    """The column as times in UTC.

    Raises:
        InputError: a cell is no date.
    """
    remedy = f"write dates as {form}, or as 2026-12-31" if form else "write dates as 2026-12-31"
    if is_number(column) and column.notna().any():
        raise _changed(column, "dates", str(column.dropna().iloc[0]), remedy)
    times, stranger = as_dates(column, form)
    if stranger is not None:
        raise _changed(column, "dates", stranger, remedy)
    return times


def _changed(column: "pd.Series[Any]", held: str, seen: str, remedy: str) -> InputError:
    """New rows hold something else than the rows of training did."""
    requirement = f"column {quote(str(column.name))} must hold {held}, as it did in training"
    return InputError(sentence(requirement, f"got {quote(seen)}", remedy))


class Encoder:
    """Columns to a float32 matrix; fitted on training rows only.

    Args:
        embedding: "piecewise" adds the piecewise-linear encoding of numeric columns.

    Attributes:
        columns: names of the input columns, in the order of the frame it was fitted on.
        names: names of the output columns.
    """

    columns: list[str]
    names: list[str]

    def __init__(self, embedding: Literal["piecewise"] | None = None) -> None:
        self._piecewise = embedding == "piecewise"

    def fit(self, features: pd.DataFrame, rows: Array | None = None) -> Self:
        """Settle how each column is read, and take quantiles, levels, means and deviations from these rows.

        Args:
            features: frame of shape (rows, columns) without the target.
            rows: numbers of the rows to fit on; None takes all.

        Raises:
            InputError: an infinite value, a column of something else than scalars, a repeated column name, no rows, or
                no column that varies.
        """
        rows = np.arange(len(features)) if rows is None else rows
        self.columns = [str(name) for name in features.columns]
        check_names(self.columns)
        if not len(rows) or not self.columns:
            shape = len(rows), len(self.columns)
            raise InputError(sentence("an encoder needs rows and columns to fit", f"got shape {shape}"))
        self._readings: list[Reading] = []
        scales = [(np.zeros(0, dtype=bool), np.zeros(0), np.zeros(0))]
        for number, name in enumerate(self.columns):  # one after the other: a copy of all would cost the table's memory
            frame = settle(plain(features.iloc[rows, [number]]))
            reading = _reading(frame[name], frame.attrs[FORMATS].get(name, ""), self._piecewise)
            if reading is not None:
                self._readings.append(reading)
                scales.append(_scale(reading, reading.transform(frame[name])))
        self._used, self._mean, self._deviation = (np.concatenate(parts) for parts in zip(*scales, strict=True))
        self._deviation[self._deviation == 0.0] = 1.0  # of constant columns, which are dropped
        names = [name for reading in self._readings for name in reading.names]
        self.names = [name for name, keep in zip(names, self._used, strict=True) if keep]
        if not self.names:
            raise InputError(
                sentence(
                    "a feature must vary",
                    f"each of the {len(self.columns)} columns has one value only in the training rows",
                    "give a table with other columns",
                )
            )
        return self

    def transform(self, features: pd.DataFrame) -> Array:
        """Encode rows.

        Args:
            features: frame with at least the columns of training, in any order; others are ignored.

        Returns:
            (rows, len(names)) float32, C-contiguous, finite, within ±10.

        Raises:
            InputError: a column is missing, or holds something else than it did in training, or infinite values.
        """
        place = self._places(features)
        out = np.empty((len(features), len(self.names)), dtype=np.float32)
        filled = start = 0
        for reading in self._readings:
            stop = start + len(reading.names)
            used = self._used[start:stop]
            if used.any():
                column = plain(features.iloc[:, [place[reading.name]]]).iloc[:, 0]
                block = (reading.transform(column) - self._mean[start:stop]) / self._deviation[start:stop]
                width = int(used.sum())
                out[:, filled : filled + width] = np.clip(block[:, used], -LIMIT, LIMIT)
                filled += width
            start = stop
        return out

    def _places(self, features: pd.DataFrame) -> dict[str, int]:
        """Where the columns of training are."""
        names = [str(name) for name in features.columns]
        wanted = set(self.columns)
        check_names([name for name in names if name in wanted])
        place = {name: number for number, name in enumerate(names)}
        absent = [name for name in self.columns if name not in place]
        if absent:
            raise InputError(
                sentence(
                    f"the rows need the {len(self.columns)} columns of training",
                    f"{listed(absent)} {'is' if len(absent) == 1 else 'are'} missing",
                    "add them; cells may be left empty",
                )
            )
        return place

    def dumps(self) -> bytes:
        """The fitted encoder in skops' format: a compressed archive of JSON and arrays."""
        from skops import io  # noqa: PLC0415 - a study's dependency

        state = {
            "format": 1,
            "columns": self.columns,
            "readings": [_state(reading) for reading in self._readings],
            "used": self._used,
            "mean": self._mean,
            "deviation": self._deviation,
        }
        data: bytes = io.dumps(state, compression=zipfile.ZIP_DEFLATED)
        return data

    @classmethod
    def loads(cls, data: bytes) -> Self:
        """Read what `dumps` wrote; nothing but text, numbers, lists, dicts and arrays is accepted.

        Raises:
            InputError: the bytes are no saved encoder, are damaged, or hold an object of another type.
        """
        state = _read_state(data)
        self = cls()
        try:
            self.columns = _texts(state["columns"])
            self._readings = [_restore(entry, self.columns) for entry in state["readings"]]
            names = [name for reading in self._readings for name in reading.names]
            self._used, self._mean, self._deviation = (state[key] for key in ("used", "mean", "deviation"))
            _check_array(self._used, bool, len(names))
            _check_array(self._mean, np.float64, len(names))
            _check_array(self._deviation[self._deviation >= LEAST], np.float64, len(names))
            _check_array(self._mean[np.abs(self._mean) <= HUGE], np.float64, len(names))
            self.names = [name for name, keep in zip(names, self._used, strict=True) if keep]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _damaged(f"its content is wrong ({error!r:.60})") from None
        return self


def _state(reading: Reading) -> State:
    """What `_restore` makes the reading of."""
    return {"kind": reading.kind, "name": reading.name} | {key: getattr(reading, key) for key in reading.fields}


def _restore(entry: State, columns: list[str]) -> Reading:
    """One column's reading from its state, each field of the type it was saved with."""
    fields = dict(entry)
    reading = READINGS[fields.pop("kind")]
    wanted = {"name": str, **reading.fields}
    if {key: type(value) for key, value in fields.items()} != wanted or fields["name"] not in columns:
        raise TypeError(f"fields of {reading.kind}")
    if "quantiles" in fields:
        _check_array(fields["quantiles"], np.float64, max(1, fields["quantiles"].size))
        if np.abs(fields["quantiles"]).max() > HUGE:
            raise ValueError("quantiles that no fit gives")
    if "form" in fields:  # pandas looks at it with the first date only
        pd.to_datetime(pd.Series(["2026-12-31"]), format=fields["form"] or "ISO8601", utc=True, errors="coerce")
    if "means" in fields:
        _check_array(fields["means"], np.float64, len(Date.parts))
    if not 1 <= fields.get("rows", 1) < 2**53 or not abs(fields.get("median", 0.0)) <= HUGE:
        raise ValueError(f"fields of {reading.kind}")
    if len(set(_texts(fields.get("levels", [])))) < len(fields.get("levels", [])):
        raise ValueError(f"fields of {reading.kind}")
    restored: Reading = reading(**fields)
    return restored


def _texts(values: list[str]) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError("a list of text")
    return values


def _check_array(array: Array, dtype: type, size: int) -> None:
    if array.dtype != dtype or array.shape != (size,) or not np.isfinite(array).all():
        raise ValueError(f"an array {array.shape} {array.dtype}")


def _read_state(data: bytes) -> State:
    """Unpack a skops archive that may hold builtin containers, numbers, text and arrays only."""
    from skops import io  # noqa: PLC0415 - a study's dependency
    from skops.io.exceptions import UntrustedTypesFoundException  # noqa: PLC0415

    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > UNPACKED:
                raise _damaged(f"it unpacks to more than {UNPACKED:,} bytes")
        state = io.loads(data, trusted=[])
    except InputError:
        raise
    except UntrustedTypesFoundException as error:
        raise _damaged(f"it holds objects of other types ({error!s:.100})") from None
    except (
        *(zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, MemoryError),  # the archive
        *(ValueError, KeyError, TypeError, AttributeError, IndexError, ImportError, OverflowError),  # its schema
    ) as error:
        raise _damaged(f"it can't be read ({type(error).__name__})") from None
    if not isinstance(state, dict) or state.get("format") != 1:
        raise _damaged("it is something else")
    return state


def _damaged(seen: str) -> InputError:
    return InputError(sentence("a saved encoder must be as the study wrote it", seen, "run the study again"))
