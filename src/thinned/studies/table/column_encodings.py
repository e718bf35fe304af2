"""The encoding of one column, fitted on training rows: numbers, dates and levels to columns of float64."""

from collections.abc import Sequence
from typing import ClassVar, Protocol, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from thinned.studies.table.columns import Column
from thinned.studies.table.piecewise_linear import edges, pieces
from thinned.studies.table.readings import (
    ColumnReading,
    DateReading,
    LevelReading,
    NumberReading,
    TextReading,
    days_since_1970,
    read_dates,
    read_levels,
    read_numbers,
)
from thinned.studies.table.state_entries import State, check_entries, finite_numbers
from thinned.studies.table.target import check_finite
from thinned.studies.table.text_encoding import TextEncoding

__all__ = [
    "ENCODINGS",
    "HUGE",
    "ColumnEncoding",
    "DateEncoding",
    "LevelEncoding",
    "NumberEncoding",
    "TextEncoding",
    "fit_column",
]

Floats: TypeAlias = npt.NDArray[np.float64]

RARE = 5  # levels of fewer training rows share one column
QUANTILES = 1000
SAMPLE = 100_000  # rows from which quantiles are taken
HUGE = 1e150  # differences of values below it can't overflow, nor can ratios of differences of values above 1 / HUGE
MOST_ROWS = 2**53
PARTS = ("year", "month", "day", "weekday", "hour", "days since 1970")


class ColumnEncoding(Protocol):
    """What encodes one column.

    Attributes:
        kind: the kind of reading that it encodes.
        name: the column.
        names: the output columns.
        unit: the output columns are 0 or 1 and keep their scale.
    """

    kind: ClassVar[str]
    unit: ClassVar[bool]
    name: str
    names: list[str]

    @property
    def pieces(self) -> int:
        """The number of output columns, at the end, that share one scale."""

    def transform(self, column: Column, reading: ColumnReading) -> Floats:
        """Encode a column, ``(rows, len(names))``; the reading is of this kind."""

    def state(self) -> dict[str, object]:
        """Give what :meth:`from_state` takes: text, numbers, lists and arrays."""

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Restore an encoding.

        Raises:
            ValueError: no fit gives this state.
        """


def _normal_scores(values: Floats, quantiles: Floats, rows: int) -> Floats:
    """The standard normal deviate of each value's rank among the training rows; ties get their middle rank.

    scikit-learn's QuantileTransformer sends every value tied with the smallest to -5.2, so in a column of counts the
    zeros, often most of the rows, become outliers. Here ranks stay half a row away from 0 and 1.
    """
    from scipy.special import ndtri  # noqa: PLC0415 - a study's dependency

    ranks = np.linspace(0.0, 1.0, len(quantiles))
    upper = np.interp(values, quantiles, ranks)
    lower = np.interp(-values, -quantiles[::-1], -ranks[::-1])
    edge = 0.5 / rows
    scores: Floats = ndtri(np.clip(0.5 * (upper - lower), edge, 1.0 - edge))
    return scores


class NumberEncoding:
    """The value, and the normal score of its rank; missing values get the median.

    A column of its own says what is missing, if anything was in the training rows.
    The value serves where a network should see distances, the rank where a few large values would hide the others.
    Both together did better than either on the bundled table (docs/negative-results.md).
    """

    kind: ClassVar[str] = "number"
    unit: ClassVar[bool] = False

    def __init__(self, name: str, median: float, missing: bool, rows: int, quantiles: Floats, piecewise: bool) -> None:
        self.name, self.median, self.missing, self.rows, self.quantiles = name, median, missing, rows, quantiles
        self.ranked = len(np.unique(quantiles)) > 2  # of two values the rank says nothing new
        self.piecewise = piecewise
        self._edges = edges(quantiles) if piecewise else np.zeros(0)
        self.names = [name, *[f"{name} rank"] * self.ranked, *[f"{name} is missing"] * missing]
        self.names += [f"{name} piece {i + 1}" for i in range(self.pieces)]

    @property
    def pieces(self) -> int:
        """The number of pieces of the piecewise-linear encoding."""
        return max(len(self._edges) - 1, 0)

    @classmethod
    def fit(cls, column: Column, reading: NumberReading, *, piecewise: bool) -> Self | None:
        """Take the median and quantiles; None where every cell is missing."""
        values = _finite(column, reading)
        present = values[~np.isnan(values)]
        rows = len(present)
        if not rows:
            return None
        if rows > SAMPLE:
            present = np.random.default_rng(0).choice(present, SAMPLE, replace=False, shuffle=False)
        quantiles = _quantiles(present, min(QUANTILES, rows))
        # interpolation rounds, which may leave neighbours out of order by one unit in the last place
        quantiles = np.maximum.accumulate(quantiles)
        return cls(column.name, float(np.median(present)), rows < len(values), rows, quantiles, piecewise)

    def transform(self, column: Column, reading: ColumnReading) -> Floats:
        """Encode a column."""
        assert isinstance(reading, NumberReading)  # noqa: S101 (for the type checker)
        values = _finite(column, reading)
        absent = np.isnan(values)
        values = np.where(absent, self.median, values)
        rank = [_normal_scores(values, self.quantiles, self.rows)] if self.ranked else []
        return np.column_stack([values, *rank, *[absent] * self.missing, pieces(values, self._edges)])

    def state(self) -> dict[str, object]:
        """Give what :meth:`from_state` takes."""
        names = ("name", "median", "missing", "rows", "quantiles", "piecewise")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Restore the encoding."""
        kinds = {"name": str, "median": float, "missing": bool, "rows": int, "quantiles": np.ndarray, "piecewise": bool}
        check_entries(state, kinds)
        quantiles = finite_numbers(state, "quantiles", None)
        median, rows = state["median"], state["rows"]
        if np.abs(quantiles).max() > HUGE or not (isinstance(median, float) and abs(median) <= HUGE):
            raise ValueError("quantiles and median must be of finite numbers")
        if not (isinstance(rows, int) and 1 <= rows < MOST_ROWS):
            raise ValueError("rows must be a number of rows")
        return cls(str(state["name"]), median, bool(state["missing"]), rows, quantiles, bool(state["piecewise"]))


def _quantiles(values: Floats, count: int) -> Floats:
    """``np.quantile(values, np.linspace(0, 1, count))`` in the same bits; its selection takes longer than a sort."""
    ordered = np.sort(values)
    place = np.linspace(0.0, 1.0, count) * (len(ordered) - 1)
    before = place.astype(np.int64)
    low, high, part = ordered[before], ordered[np.minimum(before + 1, len(ordered) - 1)], place - before
    return np.where(part < 0.5, low + (high - low) * part, high - (high - low) * (1 - part))


def _finite(column: Column, reading: NumberReading) -> Floats:
    """The numbers, NaN where missing.

    Raises:
        InputError: a number is infinite.
    """
    values, _ = read_numbers(column, reading)
    check_finite(values, column.name)
    return np.where(np.abs(values) < 1.0 / HUGE, 0.0, np.clip(values, -HUGE, HUGE))


class DateEncoding:
    """Year, month, day, weekday, hour and days since 1970, in UTC; a missing date gets the training means."""

    kind: ClassVar[str] = "date"
    unit: ClassVar[bool] = False
    pieces: ClassVar[int] = 0

    def __init__(self, name: str, missing: bool, means: Floats) -> None:
        self.name, self.missing, self.means = name, missing, means
        self.names = [f"{name} {part}" for part in PARTS] + [f"{name} is missing"] * missing

    @classmethod
    def fit(cls, column: Column, reading: DateReading) -> Self | None:
        """Take the means; None where every cell is missing."""
        times, _ = read_dates(column, reading)
        parts, absent = cls._parts(times)
        return None if absent.all() else cls(column.name, bool(absent.any()), np.nanmean(parts, axis=0))

    @staticmethod
    def _parts(times: pd.DatetimeIndex) -> tuple[Floats, npt.NDArray[np.bool_]]:
        figures = [times.year, times.month, times.day, times.day_of_week, times.hour]
        parts = [*(figure.to_numpy(dtype=np.float64) for figure in figures), days_since_1970(times)]
        return np.column_stack(parts), np.asarray(times.isna(), dtype=bool)

    def transform(self, column: Column, reading: ColumnReading) -> Floats:
        """Encode a column."""
        assert isinstance(reading, DateReading)  # noqa: S101 (for the type checker)
        times, _ = read_dates(column, reading)
        parts, absent = self._parts(times)
        parts = np.where(absent[:, None], self.means, parts)
        return np.column_stack([parts, absent]) if self.missing else parts

    def state(self) -> dict[str, object]:
        """Give what :meth:`from_state` takes."""
        return {"name": self.name, "missing": self.missing, "means": self.means}

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Restore the encoding."""
        check_entries(state, {"name": str, "missing": bool, "means": np.ndarray})
        return cls(str(state["name"]), bool(state["missing"]), finite_numbers(state, "means", len(PARTS)))


class LevelEncoding:
    """One 0/1 column per level; rare and unseen levels share one (if training had rare ones), missing has its own."""

    kind: ClassVar[str] = "level"
    unit: ClassVar[bool] = True
    pieces: ClassVar[int] = 0

    def __init__(self, name: str, levels: Sequence[str], rare: bool, missing: bool) -> None:
        self.name, self.levels, self.rare, self.missing = name, list(levels), rare, missing
        self.names = [f"{name} = {level}" for level in levels]
        self.names += [f"{name} is rare"] * rare + [f"{name} is missing"] * missing

    @classmethod
    def fit(cls, column: Column) -> Self | None:
        """Take the levels; None where every cell is missing."""
        text = column.text
        counts = {label: int(count) for label, count in zip(text.labels, text.counts, strict=True) if count}
        levels = sorted(label for label, count in counts.items() if count >= RARE)
        if not counts:
            return None
        return cls(column.name, levels, len(levels) < len(counts), bool((text.codes < 0).any()))

    def transform(self, column: Column, reading: ColumnReading) -> Floats:
        """Encode a column."""
        assert isinstance(reading, LevelReading)  # noqa: S101 (for the type checker)
        text = read_levels(column, reading)
        positions = pd.Index(self.levels, dtype=object).get_indexer(pd.Index(text.labels, dtype=object))
        codes = np.append(positions, -1)[text.codes]
        absent = text.codes < 0
        onehot = codes[:, None] == np.arange(len(self.levels))
        extra = [(codes < 0) & ~absent] * self.rare + [absent] * self.missing
        return np.column_stack([onehot, *extra]).astype(np.float64)

    def state(self) -> dict[str, object]:
        """Give what :meth:`from_state` takes."""
        return {"name": self.name, "levels": self.levels, "rare": self.rare, "missing": self.missing}

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Restore the encoding."""
        check_entries(state, {"name": str, "levels": list, "rare": bool, "missing": bool})
        levels = state["levels"]
        if not isinstance(levels, list) or not all(isinstance(level, str) for level in levels):
            raise ValueError("levels must be text")
        if len(set(levels)) < len(levels):
            raise ValueError("levels must differ")
        return cls(str(state["name"]), levels, bool(state["rare"]), bool(state["missing"]))


ENCODINGS: dict[str, type[ColumnEncoding]] = {
    encoding.kind: encoding for encoding in (NumberEncoding, DateEncoding, LevelEncoding, TextEncoding)
}


def fit_column(column: Column, reading: ColumnReading, *, piecewise: bool) -> ColumnEncoding | None:
    """Fit the encoding of a column; None where it is left out or every cell is missing.

    Args:
        column: the training rows.
        reading: how the column is read.
        piecewise: numbers have their piecewise-linear encoding besides.
    """
    match reading:
        case NumberReading():
            return NumberEncoding.fit(column, reading, piecewise=piecewise)
        case DateReading():
            return DateEncoding.fit(column, reading)
        case LevelReading():
            return LevelEncoding.fit(column)
        case TextReading():
            return TextEncoding.fit(column)
        case _:
            return None
