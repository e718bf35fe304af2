"""Rows that occur several times: finds copies, and keeps them on one side of every split."""

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from thinned.errors import InputError, sentence
from thinned.studies.table.load import Table

__all__ = ["Duplicates", "find_duplicates", "group_duplicates"]

_LEAST = 0.01  # of the rows have a copy
# Rows of few levels repeat by nature. Such rows have many more neighbours that differ in one column than copies have.
_NEIGHBOURS = 1.2  # times as many pairs are equal in all columns but one as in all columns
# Or: a number that hardly recurs, and where it does, all other columns agree, which tell rows apart by themselves.
_NUMBERS = 20
_AGREE, _BY_CHANCE = 0.8, 0.25

Hashes = npt.NDArray[np.uint64]


class Duplicates(NamedTuple):
    """Rows that occur several times.

    Attributes:
        codes: number of each distinct row, ``(rows,)``.
        rows: number of rows that have a copy.
        apart_from: the column in which copies differ, as an identifier or a time stamp; None where they are equal.
    """

    codes: npt.NDArray[np.int64]
    rows: int
    apart_from: str | None


def find_duplicates(table: Table) -> Duplicates | None:
    """Find rows that are copies of others in features and target, or in all but an identifier or a time stamp.

    Rows that repeat by nature, because their columns have few levels, do not count; nor do copies within one group, as
    they stay together.

    Returns:
        None where fewer than one row in a hundred has a copy.
    """
    hashes = _column_hashes(table)
    everything = _sum(hashes.values())
    for name in [None, *_keys(table)]:
        others = {column: values for column, values in hashes.items() if column != name}
        equal = everything - hashes[name] if name is not None else everything
        if len(others) < 2 or not _across_groups(table, equal):
            continue
        _, codes, counts = np.unique(equal, return_inverse=True, return_counts=True)
        rows = int(counts[counts > 1].sum())
        if rows >= _LEAST * len(equal) and _are_copies(table, others, equal):
            return Duplicates(codes.astype(np.int64).reshape(-1), rows, name)
    return None


def group_duplicates(table: Table) -> Table:
    """Return the table with groups that hold all copies of a row, and all rows of a group that there was before.

    Raises:
        InputError: the rows are split by time.
    """
    if table.times is not None:
        value, remedy = f"time is {table.time!r}", "leave out one of them, or remove the copies"
        raise InputError(sentence("copies stay together only where rows are not split by time", value, remedy))
    duplicates = find_duplicates(table)
    codes = duplicates.codes if duplicates is not None else _exact(table)
    if table.groups is not None:
        codes = _connected(codes, table.groups)
    return dataclasses.replace(table, groups=codes)


def _exact(table: Table) -> npt.NDArray[np.int64]:
    codes = np.unique(_sum(_column_hashes(table).values()), return_inverse=True)[1]
    return codes.astype(np.int64).reshape(-1)


def _connected(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Number the sets of rows that are connected by equal values of either."""
    _, a = np.unique(first, return_inverse=True)
    _, b = np.unique(second, return_inverse=True)
    size = int(a.max() + b.max() + 2)
    edges = coo_array((np.ones(len(a), dtype=np.int8), (a, b + a.max() + 1)), shape=(size, size))
    _, component = connected_components(edges, directed=False)
    return np.unique(component[a], return_inverse=True)[1].astype(np.int64).reshape(-1)


def _column_hashes(table: Table) -> dict[str | None, Hashes]:
    """A 64-bit number for each value of each column, ``(rows,)``; None stands for the target."""
    rng = np.random.default_rng(0)
    columns: dict[str | None, pd.Series] = {str(name): values for name, values in table.features.items()}
    hashes = {}
    for name, values in (columns | {None: pd.Series(table.target)}).items():
        codes, levels = pd.factorize(values, use_na_sentinel=False)
        hashes[name] = rng.integers(0, 2**64, size=max(len(levels), 1), dtype=np.uint64)[codes]
    return hashes


def _sum(hashes: Iterable[Hashes]) -> Hashes:
    total: Hashes = np.sum(list(hashes), axis=0, dtype=np.uint64)
    return total


def _keys(table: Table) -> list[str]:
    """Columns that may be identifiers or time stamps."""
    rows = len(table.target)
    return [
        str(name)
        for name, values in table.features.items()
        if pd.api.types.is_datetime64_any_dtype(values) or values.nunique() > rows / 2
    ]


def _across_groups(table: Table, equal: Hashes) -> bool:
    """True where copies are in different groups, or there are no groups."""
    if table.groups is None:
        return True
    within = equal + np.random.default_rng(1).integers(0, 2**64, table.groups.max() + 1, np.uint64)[table.groups]
    return _pairs(within) < _pairs(equal)


def _are_copies(table: Table, hashes: dict[str | None, Hashes], equal: Hashes) -> bool:
    """False where rows repeat by nature."""
    pairs, rows = _pairs(equal), len(equal)
    alike = {name: _pairs(equal - values) for name, values in hashes.items()}
    if max(alike.values()) <= _NEIGHBOURS * pairs:
        return True
    by_chance = _BY_CHANCE * rows * (rows - 1) / 2
    return any(
        pairs >= _AGREE * _pairs(hashes[str(name)]) and alike[str(name)] <= by_chance
        for name, values in table.features.items()
        if str(name) in hashes and pd.api.types.is_numeric_dtype(values) and values.nunique() >= _NUMBERS
    )


def _pairs(values: Hashes) -> int:
    """Number of pairs of equal values."""
    counts = np.unique(values, return_counts=True)[1].astype(np.int64)
    return int((counts * (counts - 1)).sum() // 2)
