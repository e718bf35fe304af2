"""Columns of a table to one float32 matrix, fitted on the training rows only.

Each input column is read in one of four ways, settled by what the training rows hold:

| reading | when | output columns |
|---|---|---|
| number | numbers, truth values, or text in which every cell is a number | normal scores, missing |
| date | dates, or text in which skrub recognises one date format | parts of the date, missing |
| level | text or category with at most 64 values | one 0/1 column per level, rare levels together, missing |
| text | text with more values | 32 hashed character n-grams |

All but the 0/1 columns of levels are then scaled to mean 0 and deviation 1, constant ones are dropped, and everything
is clipped to ±10. The state is text, numbers and arrays, so a saved encoder can be read without trusting any code.
"""

import zipfile
import zlib
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from pandas.api import types

from thinned._checks import InputError, sentence
from thinned.studies.columns import as_numbers, as_text, check_finite, listed, plain, quote

__all__ = ["Encoder"]

Array = np.ndarray[Any, Any]
State = dict[str, Any]

LEVELS = 64  # text columns with more distinct values are hashed
RARE = 5  # levels of fewer training rows share one column
HASHES = 32
QUANTILES = 1000
SAMPLE = 100_000  # rows from which quantiles are taken
LIMIT = 10.0
HUGE = 1e150  # differences of values below it can't overflow


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
    """Normal scores; a missing value gets the median, and a column of its own that says so if training rows had any."""

    kind: ClassVar = "number"
    unit = False

    def __init__(self, name: str, median: float, missing: bool, rows: int, quantiles: Array):
        self.name, self.median, self.missing, self.rows, self.quantiles = name, median, missing, rows, quantiles
        self.names = [name, f"{name} is missing"] if missing else [name]

    @classmethod
    def fit(cls, column: "pd.Series[Any]") -> Self:
        values = _finite_numbers(column)
        present = values[~np.isnan(values)]
        rows = len(present)
        if rows > SAMPLE:
            present = np.random.default_rng(0).choice(present, SAMPLE, replace=False, shuffle=False)
        quantiles = np.quantile(present, np.linspace(0.0, 1.0, min(QUANTILES, rows)))
        # interpolation rounds, which may leave neighbours out of order by one unit in the last place
        quantiles = np.maximum.accumulate(quantiles)
        return cls(str(column.name), float(np.median(present)), rows < len(values), rows, quantiles)

    def transform(self, column: "pd.Series[Any]") -> Array:
        values = _finite_numbers(column)
        absent = np.isnan(values)
        scores = _normal_scores(np.where(absent, self.median, values), self.quantiles, self.rows)
        return np.column_stack([scores, absent]) if self.missing else scores[:, None]

    def state(self) -> State:
        return {"median": self.median, "missing": self.missing, "rows": self.rows, "quantiles": self.quantiles}


class Date:
    """Year, month, day, weekday, hour and days since 1970, in UTC; a missing date gets the training means."""

    kind: ClassVar = "date"
    unit = False
    parts: ClassVar = ["year", "month", "day", "weekday", "hour", "days since 1970"]

    def __init__(self, name: str, form: str, missing: bool, means: Array):
        self.name, self.form, self.missing, self.means = name, form, missing, means
        self.names = [f"{name} {part}" for part in self.parts] + ([f"{name} is missing"] if missing else [])

    @classmethod
    def fit(cls, column: "pd.Series[Any]", form: str) -> Self:
        parts, absent = cls._parts(_times(column, form))
        return cls(str(column.name), form, bool(absent.any()), np.nanmean(parts, axis=0))

    @staticmethod
    def _parts(times: "pd.Series[Any]") -> tuple[Array, Array]:
        at = times.dt
        days = (times - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)
        parts = [at.year, at.month, at.day, at.dayofweek, at.hour, days]
        return np.column_stack([part.to_numpy(dtype=np.float64) for part in parts]), times.isna().to_numpy()

    def transform(self, column: "pd.Series[Any]") -> Array:
        parts, absent = self._parts(_times(column, self.form))
        parts = np.where(absent[:, None], self.means, parts)
        return np.column_stack([parts, absent]) if self.missing else parts

    def state(self) -> State:
        return {"form": self.form, "missing": self.missing, "means": self.means}


class Level:
    """One 0/1 column per level; rare and unseen levels share one (if training had rare ones), missing has its own."""

    kind: ClassVar = "level"
    unit = True

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

    def state(self) -> State:
        return {"levels": self.levels, "rare": self.rare, "missing": self.missing}


class Text:
    """Character n-grams hashed into a few columns: similar texts get similar rows, and nothing needs to be stored."""

    kind: ClassVar = "text"
    unit = False

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

    def state(self) -> State:
        return {}


Reading = Number | Date | Level | Text
READINGS: dict[str, type[Number] | type[Date] | type[Level] | type[Text]] = {
    reading.kind: reading for reading in (Number, Date, Level, Text)
}


def _reading(column: "pd.Series[Any]") -> Reading | None:
    """How a training column is read; ``None`` if every cell is missing."""
    texts = None
    if not isinstance(column.dtype, pd.CategoricalDtype):
        if types.is_datetime64_any_dtype(column.dtype):
            return Date.fit(column, "") if column.notna().any() else None
        values, stranger = as_numbers(column)
        if stranger is None:
            return None if np.isnan(values).all() else Number.fit(column)
        form = _date_form(column)
        if form is not None:
            return Date.fit(column, form)
    texts = as_text(column)
    distinct = texts.nunique()
    if distinct == 0:
        return None
    return Level.fit(column) if distinct <= LEVELS else Text.fit(column)


def _finite_numbers(column: "pd.Series[Any]") -> Array:
    """The column as float64 with NaN where missing.

    Raises:
        InputError: a cell is not a number, or is infinite.
    """
    values, stranger = as_numbers(column)
    name = str(column.name)
    if stranger is not None:
        raise InputError(
            sentence(
                f"column {quote(name)} must hold numbers, as it did in training",
                f"got {quote(stranger)}",
                "correct the cell, or leave it empty to mark it as missing",
            )
        )
    check_finite(values, name)
    clipped: Array = np.clip(values, -HUGE, HUGE)
    return clipped


def _date_form(column: "pd.Series[Any]") -> str | None:
    """The date format of a column's text, "" if the cells are dates already, ``None`` if they are no dates."""
    from skrub import ToDatetime  # noqa: PLC0415 - a study's dependency
    from skrub.core import RejectColumn  # noqa: PLC0415

    cells = column.astype(object)
    cells = cells[as_text(column).notna()]
    if types.infer_dtype(cells, skipna=True) in {"date", "datetime"}:
        return ""
    if not all(isinstance(cell, str) for cell in cells):
        return None
    converter = ToDatetime()
    try:
        converter.fit_transform(cells.str.strip())
    except RejectColumn:
        return None
    form: str = converter.format_
    return form


def _times(column: "pd.Series[Any]", form: str) -> "pd.Series[Any]":
    """The column as times in UTC; text is read in the format of training, and failing that as ISO 8601.

    Raises:
        InputError: a cell is no date.
    """
    if types.is_datetime64_any_dtype(column.dtype):
        return pd.to_datetime(column, utc=True)
    texts = as_text(column)
    times = pd.to_datetime(texts, format=form or "ISO8601", utc=True, errors="coerce")
    if form:
        times = times.fillna(pd.to_datetime(texts.where(times.isna()), format="ISO8601", utc=True, errors="coerce"))
    strangers = texts[times.isna() & texts.notna()]
    if len(strangers):
        raise InputError(
            sentence(
                f"column {quote(str(column.name))} must hold dates, as it did in training",
                f"got {quote(strangers.iloc[0])}",
                f"write it as {quote(form)}" if form else "write it as 2026-12-31",
            )
        )
    return times


class Encoder:
    """Columns to a float32 matrix; fitted on training rows only.

    Attributes:
        columns: names of the input columns, in the order of the frame it was fitted on.
        names: names of the output columns.
    """

    columns: list[str]
    names: list[str]

    def fit(self, features: pd.DataFrame) -> Self:
        """Settle how each column is read, and take quantiles, levels, means and deviations from these rows.

        Args:
            features: frame of shape (rows, columns) without the target.

        Raises:
            InputError: an infinite value, a column of something else than scalars, a repeated column name, no rows, or
                no column that varies.
        """
        frame = plain(features)
        if frame.empty:
            raise InputError(sentence("an encoder needs rows and columns to fit", f"got shape {frame.shape}"))
        self.columns = [str(name) for name in frame.columns]
        self._readings = [reading for name in self.columns if (reading := _reading(frame[name])) is not None]
        self._fit_scale(frame)
        if not self.names:
            raise InputError(
                sentence(
                    "a feature must vary",
                    f"each of the {len(self.columns)} columns has one value only in the training rows",
                    "give a table with other columns",
                )
            )
        return self

    def _fit_scale(self, frame: pd.DataFrame) -> None:
        names = [name for reading in self._readings for name in reading.names]
        used, means, deviations = [], [], []
        for reading in self._readings:
            block = reading.transform(frame[reading.name])
            used.append(block.min(axis=0) < block.max(axis=0))
            means.append(np.zeros(block.shape[1]) if reading.unit else block.mean(axis=0))
            deviations.append(np.ones(block.shape[1]) if reading.unit else block.std(axis=0))
        self._used, self._mean, self._deviation = (
            np.concatenate(parts) if parts else np.zeros(0) for parts in (used, means, deviations)
        )
        self._deviation[self._deviation == 0.0] = 1.0  # of constant columns, which are dropped
        self.names = [name for name, keep in zip(names, self._used, strict=True) if keep]

    def transform(self, features: pd.DataFrame) -> Array:
        """Encode rows.

        Args:
            features: frame with at least the columns of training, in any order; others are ignored.

        Returns:
            (rows, len(names)) float32, C-contiguous, finite, within ±10.

        Raises:
            InputError: a column is missing, or holds something else than it did in training, or infinite values.
        """
        frame = self._ordered(features)
        out = np.empty((len(frame), len(self.names)), dtype=np.float32)
        filled = start = 0
        for reading in self._readings:
            stop = start + len(reading.names)
            used = self._used[start:stop]
            if used.any():
                block = (reading.transform(frame[reading.name]) - self._mean[start:stop]) / self._deviation[start:stop]
                width = int(used.sum())
                out[:, filled : filled + width] = np.clip(block[:, used], -LIMIT, LIMIT)
                filled += width
            start = stop
        return out

    def _ordered(self, features: pd.DataFrame) -> pd.DataFrame:
        """The columns of training, in their order."""
        features = features.set_axis([str(name) for name in features.columns], axis=1)
        present = set(features.columns)
        absent = [name for name in self.columns if name not in present]
        if absent:
            raise InputError(
                sentence(
                    f"the rows need the {len(self.columns)} columns of training",
                    f"{listed(absent)} {'is' if len(absent) == 1 else 'are'} missing",
                    "add them; cells may be left empty",
                )
            )
        return plain(features.loc[:, self.columns])

    def dumps(self) -> bytes:
        """The fitted encoder in skops' format: a compressed archive of JSON and arrays."""
        from skops import io  # noqa: PLC0415 - a study's dependency

        state = {
            "format": 1,
            "columns": self.columns,
            "readings": [{"kind": r.kind, "name": r.name, **r.state()} for r in self._readings],
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
            self.columns = [str(name) for name in state["columns"]]
            self._readings = [_restore(entry) for entry in state["readings"]]
            self._used = np.asarray(state["used"], dtype=bool)
            self._mean, self._deviation = (np.asarray(state[key], dtype=np.float64) for key in ("mean", "deviation"))
            names = [name for reading in self._readings for name in reading.names]
            self.names = [name for name, keep in zip(names, self._used, strict=True) if keep]
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(f"its content is incomplete ({error!r:.60})") from None
        if not self._mean.shape == self._deviation.shape == self._used.shape:
            raise _damaged("its arrays differ in length")
        return self


def _restore(entry: State) -> Reading:
    """One column's reading from its state."""
    arguments = dict(entry)
    reading: Reading = READINGS[arguments.pop("kind")](**arguments)
    return reading


def _read_state(data: bytes) -> State:
    """Unpack a skops archive that may hold builtin containers, numbers, text and arrays only."""
    from skops import io  # noqa: PLC0415 - a study's dependency
    from skops.io.exceptions import UntrustedTypesFoundException  # noqa: PLC0415

    try:
        state = io.loads(data, trusted=[])
    except UntrustedTypesFoundException as error:
        raise _damaged(f"it holds objects of other types ({error!s:.100})") from None
    except (
        *(zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError),  # the archive
        *(ValueError, KeyError, TypeError, AttributeError, IndexError, ImportError, OverflowError),  # its schema
    ) as error:
        raise _damaged(f"it can't be read ({type(error).__name__})") from None
    if not isinstance(state, dict) or state.get("format") != 1:
        raise _damaged("it is something else")
    return state


def _damaged(seen: str) -> InputError:
    return InputError(sentence("a saved encoder must be as the study wrote it", seen, "run the study again"))
