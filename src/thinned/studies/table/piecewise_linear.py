"""Piecewise-linear encoding of numbers (Gorishniy, Rubachev & Babenko 2022, "On Embeddings for Numerical Features")."""

from typing import Any

import numpy as np

__all__ = ["BINS", "edges", "pieces"]

Array = np.ndarray[Any, Any]

BINS = 16


def edges(quantiles: Array) -> Array:
    """Ends of at most :data:`BINS` bins with about equally many training rows; equal ends are one.

    Args:
        quantiles: of the training rows, at evenly spaced ranks from the least value to the greatest, ``(n,)``,
            ascending.

    Returns:
        ``(bins + 1,)``, strictly ascending. Empty for fewer than two bins: one piece says no more than the value does.
    """
    ranks = np.rint(np.linspace(0, len(quantiles) - 1, BINS + 1)).astype(np.int64)
    ends = np.unique(quantiles[ranks])
    return ends if len(ends) > 2 else ends[:0]


def pieces(values: Array, ends: Array) -> Array:
    """How far each value has come through each bin: 0 below it, 1 above it, linear within (equation 1 of the paper).

    A linear layer of the pieces is a piecewise-linear function of the value, and weights of different bins do not
    compete for one slope. Unlike the paper's, the outer bins end too: values beyond the training rows count as the
    least or the greatest of them.

    Args:
        values: ``(rows,)``, finite.
        ends: ``(bins + 1,)``, strictly ascending, or empty.

    Returns:
        ``(rows, bins)`` in [0, 1]; non-decreasing along the rows of ascending values, non-increasing along the bins.
    """
    lower, upper = ends[:-1], ends[1:]
    # clipped first: the distance to a far bin, measured in widths of a narrow one, can overflow
    encoded: Array = (np.clip(values[:, None], lower, upper) - lower) / (upper - lower)
    return encoded
