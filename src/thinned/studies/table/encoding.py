"""Columns of a table to one float32 matrix: each column read as it was decided, and fitted on the training rows only.

| reading | output columns |
|---|---|
| number | value, normal score of its rank, missing |
| date | parts of the date, missing |
| level | one 0/1 column per level, rare levels together, missing |
| text | missing, 100 components of its words and character n-grams |

A number may have its piecewise-linear encoding besides (:mod:`thinned.studies.table.piecewise_linear`); texts are
encoded in :mod:`thinned.studies.table.text_encoding`.

All but the 0/1 columns of levels are then scaled to mean 0 and deviation 1, constant ones are dropped, and everything
is clipped to ±10. The pieces of a number share one scale, by which their variances sum to 1: with unit variance each,
a number would weigh as much as 16, and its steps as much as its trend.

The state is text, numbers and arrays, so a saved encoder can be read without trusting any code.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from thinned.errors import InputError, sentence
from thinned.studies.table import encoder_state
from thinned.studies.table.column_encodings import ColumnEncoding, Floats, fit_column
from thinned.studies.table.columns import Column, Numbers, column_of
from thinned.studies.table.encoder_state import EncoderState
from thinned.studies.table.names import check_names, listed
from thinned.studies.table.notices import Notice
from thinned.studies.table.readings import ColumnReading, DropReading, NumberReading
from thinned.studies.table.settle import settle
from thinned.studies.table.unlike import unlike

__all__ = ["LIMIT", "EncodedRows", "Encoder"]

Bools: TypeAlias = npt.NDArray[np.bool_]

LIMIT = 10.0
_ROWS_AT_ONCE = 2**16  # of numbers: steps of their encoding are float64
_CELLS_TWICE = 10**6  # of a table that is in memory encoded twice for a moment


class EncodedRows(NamedTuple):
    """Rows as a network takes them.

    Attributes:
        matrix: ``(rows, columns)`` float32, C-contiguous, finite, within ±10.
        notices: what in the rows is unlike the training rows, by column.
    """

    matrix: npt.NDArray[np.float32]
    notices: list[Notice]


class _Block(NamedTuple):
    """An encoding, the columns that it makes, and those of the matrix that they fill where they vary."""

    encoding: ColumnEncoding
    made: slice
    filled: slice


class Encoder:
    """Columns to a float32 matrix; fitted on training rows only.

    Args:
        embedding: "piecewise" adds the piecewise-linear encoding of numeric columns.
        readings: how the columns are read, as a study's table says; None decides it when the encoder is fitted.

    Attributes:
        columns: names of the input columns, in the order of the frame it was fitted on.
        names: names of the output columns.
        readings: how the columns are read.
    """

    columns: list[str]
    names: list[str]

    def __init__(
        self,
        embedding: Literal["piecewise"] | None = None,
        readings: Mapping[str, ColumnReading] | None = None,
    ) -> None:
        self._piecewise = embedding == "piecewise"
        self.readings: dict[str, ColumnReading] = dict(readings or {})
        self._decide = readings is None

    def fit(self, features: pd.DataFrame, rows: npt.NDArray[np.int64] | None = None) -> Self:
        """Take quantiles, levels, means and deviations from these rows.

        Args:
            features: frame of shape (rows, columns) without the target.
            rows: numbers of the rows to fit on; None takes all.

        Raises:
            InputError: an infinite value, a column of something else than scalars, a repeated column name, no rows, or
                no column that varies.
        """
        self._fit(features, rows)
        return self

    def fit_transform(self, features: pd.DataFrame) -> npt.NDArray[np.float32]:
        """Fit to all rows and encode them: :meth:`fit` and :meth:`transform` in half the time.

        Args:
            features: as for :meth:`fit`.

        Returns:
            As :meth:`transform`.

        Raises:
            InputError: as :meth:`fit`.
        """
        if features.size > _CELLS_TWICE:
            return self.fit(features).transform(features)
        blocks: list[npt.NDArray[np.float32]] = []
        self._fit(features, None, blocks)
        return np.concatenate(blocks, axis=1, out=np.empty((len(features), len(self.names)), dtype=np.float32))

    def _fit(
        self,
        features: pd.DataFrame,
        rows: npt.NDArray[np.int64] | None,
        blocks: list[npt.NDArray[np.float32]] | None = None,
    ) -> None:
        """Fit column by column; the encoded ones go into ``blocks``."""
        self.columns = [str(name) for name in features.columns]
        check_names(self.columns)
        count = len(features) if rows is None else len(rows)
        if not count or not self.columns:
            shape = count, len(self.columns)
            raise InputError(sentence("an encoder needs rows and columns to fit", f"got shape {shape}"))
        self._encodings: list[ColumnEncoding] = []
        scales: list[tuple[Bools, Floats, Floats]] = [(np.zeros(0, dtype=bool), np.zeros(0), np.zeros(0))]
        for number, name in enumerate(self.columns):  # one after the other: a copy of all would cost the table's memory
            series = features.iloc[:, number] if rows is None else features.iloc[:, number].iloc[rows]
            if self._decide:
                self.readings |= settle(series.to_frame(name)).readings
            column, reading = column_of(series, name), self.readings[name]
            encoding = fit_column(column, reading, piecewise=self._piecewise)
            if encoding is not None:
                block = encoding.transform(column, reading)
                used, mean, deviation = _scale(encoding, block)
                deviation[deviation == 0.0] = 1.0  # of constant columns, which are dropped
                self._encodings.append(encoding)
                scales.append((used, mean, deviation))
                if blocks is not None:
                    block = block if encoding.unit else _scaled(block, mean, deviation)
                    blocks.append(block[:, used].astype(np.float32))
        self._used = np.concatenate([used for used, _, _ in scales])
        self._mean = np.concatenate([mean for _, mean, _ in scales])
        self._deviation = np.concatenate([deviation for _, _, deviation in scales])
        self.names = self._used_names()
        if not self.names:
            value = f"each of the {len(self.columns)} columns has one value only in the training rows"
            raise InputError(sentence("a feature must vary", value, "give a table with other columns"))

    def _used_names(self) -> list[str]:
        names = [name for encoding in self._encodings for name in encoding.names]
        return [name for name, used in zip(names, self._used, strict=True) if used]

    def transform(self, features: pd.DataFrame) -> npt.NDArray[np.float32]:
        """Encode rows; cells that can't be read as those of training were count as missing.

        Args:
            features: frame with the columns of training, but for those left out, in any order; others are ignored.

        Returns:
            (rows, len(names)) float32, C-contiguous, finite, within ±10.

        Raises:
            InputError: a column is missing, or holds infinite values or other things than scalars.
        """
        return self.encode(features, compare=False).matrix

    def encode(self, features: pd.DataFrame, *, compare: bool = True) -> EncodedRows:
        """Encode rows as :meth:`transform`, and compare them with the training rows as :meth:`unlike`.

        Args:
            features: as for :meth:`transform`.
            compare: look for what is unlike the training rows.

        Raises:
            InputError: as :meth:`transform`.
        """
        matrix = np.empty((len(features), len(self.names)), dtype=np.float32)
        notices: list[Notice] = []
        positions = self._positions(features)
        blocks = self._blocks()
        for name in self.columns:
            reading, block = self.readings[name], blocks.get(name)
            if isinstance(reading, DropReading) or not (compare or block is not None):
                continue
            column = _column(features, name, positions)
            if compare:
                notices += unlike(column, reading)
            if block is not None:
                self._fill(matrix[:, block.filled], column, block)
        return EncodedRows(matrix, notices)

    def _blocks(self) -> dict[str, _Block]:
        """Find the columns of each encoding that has some that vary."""
        blocks: dict[str, _Block] = {}
        start = filled = 0
        for encoding in self._encodings:
            made = slice(start, start + len(encoding.names))
            width = int(self._used[made].sum())
            if width:
                blocks[encoding.name] = _Block(encoding, made, slice(filled, filled + width))
            start, filled = made.stop, filled + width
        return blocks

    def _fill(self, out: npt.NDArray[np.float32], column: Column, block: _Block) -> None:
        cells = column.cells
        if not (isinstance(cells, Numbers) and isinstance(self.readings[column.name], NumberReading)):
            self._fill_rows(out, column, block)
            return
        for start in range(0, len(out), _ROWS_AT_ONCE):  # what a row becomes depends on no other
            part = slice(start, start + _ROWS_AT_ONCE)
            rows = Column(column.name, Numbers(cells.values[part], truth=cells.truth))
            self._fill_rows(out[part], rows, block)

    def _fill_rows(self, out: npt.NDArray[np.float32], column: Column, block: _Block) -> None:
        encoded = block.encoding.transform(column, self.readings[column.name])
        encoded = _scaled(encoded, self._mean[block.made], self._deviation[block.made])
        out[:] = encoded[:, self._used[block.made]]

    def unlike(self, features: pd.DataFrame) -> list[Notice]:
        """Say what in new rows is unlike the training rows.

        Args:
            features: as for :meth:`transform`.

        Raises:
            InputError: as :meth:`transform`.
        """
        positions = self._positions(features)
        return [
            notice
            for name, reading in self.readings.items()
            if not isinstance(reading, DropReading)
            for notice in unlike(_column(features, name, positions), reading)
        ]

    def _positions(self, features: pd.DataFrame) -> dict[str, int]:
        """Find the columns of training; those that are left out need not be there."""
        names = [str(name) for name in features.columns]
        wanted = [name for name in self.columns if not isinstance(self.readings[name], DropReading)]
        check_names([name for name in names if name in set(wanted)])
        positions = {name: number for number, name in enumerate(names)}
        absent = [name for name in wanted if name not in positions]
        if absent:
            requirement = f"the rows need the {f'{len(wanted)} columns' if len(wanted) > 1 else 'column'} of training"
            value = f"{listed(absent)} {'is' if len(absent) == 1 else 'are'} missing"
            raise InputError(sentence(requirement, value, "add them; cells may be left empty"))
        return positions

    def dumps(self) -> bytes:
        """Save the fitted encoder in skops' format: a compressed archive of JSON and arrays."""
        state = EncoderState(self.columns, self.readings, self._encodings, self._used, self._mean, self._deviation)
        return encoder_state.dumps(state)

    @classmethod
    def loads(cls, data: bytes) -> Self:
        """Read what `dumps` wrote; nothing but text, numbers, lists, dicts and arrays is accepted.

        Raises:
            InputError: the bytes are no saved encoder, are damaged, or hold an object of another type.
        """
        state = encoder_state.loads(data)
        encoder = cls(readings=state.readings)
        encoder.columns, encoder._encodings = state.columns, state.encodings
        encoder._used, encoder._mean, encoder._deviation = state.used, state.mean, state.deviation
        encoder.names = encoder._used_names()
        return encoder


def _column(features: pd.DataFrame, name: str, positions: Mapping[str, int]) -> Column:
    return column_of(features.iloc[:, positions[name]], name)


def _scaled(encoded: Floats, mean: Floats, deviation: Floats) -> Floats:
    encoded -= mean  # in place: a copy of a text's columns costs as much as they do
    encoded /= deviation
    return np.clip(encoded, -LIMIT, LIMIT, out=encoded)


def _scale(encoding: ColumnEncoding, block: Floats) -> tuple[Bools, Floats, Floats]:
    """Say which of an encoding's training columns vary, and give their means and deviations.

    The pieces of a number share the root of their summed variances.
    """
    varying = np.asarray((block != block[0]).any(axis=0), dtype=bool)
    if encoding.unit:
        return varying, np.zeros(block.shape[1]), np.ones(block.shape[1])
    deviations = block.std(axis=0)
    own = deviations[len(deviations) - encoding.pieces :]
    own[:] = np.sqrt(np.square(own).sum())
    return varying, block.mean(axis=0), deviations
