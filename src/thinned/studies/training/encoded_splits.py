"""The rows of splits as networks take them, encoded once for all jobs that train on them."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from thinned.studies.design.splits import Split
from thinned.studies.table.encoding import Encoder
from thinned.studies.table.load import Table
from thinned.studies.training.cohort import Data

__all__ = ["Encoded", "EncodedSplits", "SplitKey", "encode", "standardised"]

Embedding: TypeAlias = Literal["piecewise"] | None

_KEPT = 2**26  # bytes of encoded rows that wait for a later job; what more there is goes with the job that uses it


class Encoded(NamedTuple):
    """A split's rows as tensors, with mean and standard deviation of its training targets."""

    split: Split
    data: Data
    center: float
    spread: float


def encode(table: Table, split: Split, embedding: Embedding = None) -> Encoded:
    """Fit the encoding on the split's training rows and encode all rows."""
    encoder = Encoder(embedding, table.readings).fit(table.features, split.train)
    y, center, spread = standardised(table, split.train)
    rows = [torch.from_numpy(np.asarray(part, dtype=np.int64)) for part in (split.train, split.validation, split.test)]
    return Encoded(split, Data(torch.from_numpy(encoder.transform(table.features)), y, *rows), center, spread)


def standardised(table: Table, train: npt.NDArray[np.int64]) -> tuple[torch.Tensor, float, float]:
    """Return class codes as they are, or values standardised by the training rows; then mean and deviation."""
    if table.task != "regression":
        return torch.from_numpy(table.target), 0.0, 1.0
    values = table.target.astype(np.float64)
    center, spread = float(values[train].mean()), float(values[train].std()) or 1.0
    return torch.from_numpy(((values - center) / spread).astype(np.float32)), center, spread


class SplitKey(NamedTuple):
    """An encoding of a split.

    Attributes:
        split: number of the split.
        size: number of training rows; 0 stands for all rows of the split.
        embedding: how numbers are encoded.
    """

    split: int
    size: int
    embedding: Embedding


class _Entry:
    """An encoded split, made by the first job that asks for it, for which others wait."""

    def __init__(self) -> None:
        self.jobs = 0
        self._encoded: Encoded | None = None
        self._lock = threading.Lock()

    def get(self, make: Callable[[], Encoded]) -> Encoded:
        with self._lock:
            if self._encoded is None:
                self._encoded = make()
            return self._encoded

    @property
    def bytes(self) -> int:
        return 0 if self._encoded is None else self._encoded.data.x.nbytes


class EncodedSplits:
    """The encoded splits of a table, shared by the threads of a process.

    One stays while a job uses it. Small ones stay until the last job that needs them. A copy for another process begins
    empty.

    Args:
        table: the rows.
        splits: the splits.
        needed: the encodings that jobs need, once for each job.
    """

    def __init__(self, table: Table, splits: Sequence[Split], needed: Iterable[SplitKey]) -> None:
        self._table, self._splits = table, splits
        self._needed = Counter(needed)
        self._entries: dict[SplitKey, _Entry] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        """Leave the encodings and the lock behind."""
        return type(self), (self._table, self._splits, list(self._needed.elements()))

    @contextmanager
    def use(self, keys: Sequence[SplitKey]) -> Iterator[list[Encoded]]:
        """Give a job the encodings that it needs, made where they are not there."""
        with self._lock:
            entries = [self._entries.setdefault(key, _Entry()) for key in keys]
            for entry in entries:
                entry.jobs += 1
        try:
            yield [entry.get(partial(self._encode, key)) for key, entry in zip(keys, entries, strict=True)]
        finally:
            with self._lock:
                for key, entry in zip(keys, entries, strict=True):
                    entry.jobs -= 1
                    self._needed[key] -= 1
                    kept = self._needed[key] > 0 and sum(e.bytes for e in self._entries.values()) <= _KEPT
                    if not entry.jobs and not kept:
                        del self._entries[key]

    def _encode(self, key: SplitKey) -> Encoded:
        return encode(self._table, self._splits[key.split].first(key.size), key.embedding)
