"""Prediction intervals from held-out residuals: CV+ of Barber, Candès, Ramdas & Tibshirani 2021.

"Predictive inference with the jackknife+", Annals of Statistics 49(1), section 3. It asks nothing of the network or of
the noise but that the rows are exchangeable: intervals of level 1 − α cover at least 1 − 2α of new rows (Theorem 4,
less a term that vanishes with the number of rows), and in practice about 1 − α.
"""

import math

import numpy as np
import numpy.typing as npt

__all__ = ["cv_plus", "kept", "thin_out"]

Array = npt.NDArray[np.float64]

_KEPT = 400  # residuals of a member: they widen each side by at most 1 / 400 of the probability


def kept(number: int) -> int:
    """How many of that many residuals :func:`thin_out` keeps."""
    return min(number, _KEPT)


def thin_out(residuals: Array) -> Array:
    """At most 400 order statistics of each member's absolute residuals, for a saved model to hold.

    Each kept value stands for as many residuals, none of which is greater than it: intervals only get wider.

    Args:
        residuals: ``(members, n)``.

    Returns:
        ``(members, min(n, 400))``, sorted.
    """
    number = residuals.shape[1]
    ranks = -(-np.arange(1, kept(number) + 1) * number // kept(number))  # rounded up
    return np.ascontiguousarray(np.sort(np.abs(residuals), axis=1)[:, ranks - 1])


def cv_plus(predicted: Array, residuals: Array, number: int, coverage: float) -> Array:
    """The interval of each row.

    With n held-out rows, the upper end is the ⌈(1 − α)(n + 1)⌉-th smallest of: the prediction of the member that row i
    was held out from, plus that row's absolute residual; the lower end mirrors it.

    Args:
        predicted: ``(members, rows)``, of the members that the residuals are of.
        residuals: ``(members, kept(number))``, as :func:`thin_out` gives them.
        number: how many rows each member's residuals are of.
        coverage: 1 − α.

    Returns:
        ``(rows, 2)``: low and high; infinite where there are too few residuals for the coverage.
    """
    members, size = residuals.shape
    rank = math.ceil(coverage * (members * number + 1))
    if rank > members * number:
        return np.tile([-np.inf, np.inf], (predicted.shape[1], 1))
    place = -(-rank * size // number) - 1

    def upper(centers: Array) -> Array:
        ends = (centers.T[:, :, None] + residuals).reshape(centers.shape[1], -1)
        return np.asarray(np.partition(ends, place, axis=1)[:, place])

    return np.stack([-upper(-predicted), upper(predicted)], axis=1)
