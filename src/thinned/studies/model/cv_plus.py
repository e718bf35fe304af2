"""Prediction intervals from held-out residuals: CV+ of Barber, Candès, Ramdas & Tibshirani 2021.

"Predictive inference with the jackknife+", Annals of Statistics 49(1), section 3. It asks nothing of the network or of
the noise but that the rows are exchangeable: intervals of level 1 − α cover at least 1 − 2α of new rows (Theorem 4,
less a term that vanishes with the number of rows), and in practice about 1 − α.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["cv_plus", "step", "thin_out"]

Array = npt.NDArray[np.float64]

_KEPT = 400  # residuals of a member, so that a million rows take seconds


def step(held_out: Sequence[int]) -> int:
    """Of how many residuals :func:`thin_out` keeps one, where members have held out so many."""
    return -(-max(held_out) // _KEPT)


def thin_out(residuals: Sequence[Array]) -> Array:
    """The order statistics of each member's absolute residuals that a saved model holds.

    Every q-th is kept, and the greatest, where q is :func:`step`: all of them, up to 400 a member.

    Args:
        residuals: of each member, ``(its held-out rows,)``.

    Returns:
        ``(members, kept)``, each member's in order; filled up with infinity where it has fewer than others.
    """
    every = step([len(own) for own in residuals])
    ordered = [np.sort(np.abs(own)) for own in residuals]
    thinned = [np.append(own[every - 1 :: every], own[len(own) // every * every :][-1:]) for own in ordered]
    out = np.full((len(thinned), max(map(len, thinned))), np.inf)
    for row, own in zip(out, thinned, strict=True):
        row[: len(own)] = own
    return out


def cv_plus(predicted: Array, residuals: Array, held_out: Sequence[int], coverage: float) -> Array:
    """The interval of each row.

    With n held-out rows in all, the upper end is the ⌈(1 − α)(n + 1)⌉-th smallest of: the prediction of the member that
    row i was held out from, plus that row's absolute residual. The lower end mirrors it.

    Where every q-th residual is kept, j of them below a point stand for at least q j of a member's, or all: to be sure
    of m residuals below it, of all K members, ⌈(m + K (q − 1)) / q⌉ kept ones must be. That only widens intervals.

    Args:
        predicted: ``(members, rows)``, of the members that the residuals are of.
        residuals: as :func:`thin_out` gives them.
        held_out: how many rows each member has held out.
        coverage: 1 − α.

    Returns:
        ``(rows, 2)``: low and high; infinite where there are too few residuals for the coverage.
    """
    every, members = step(held_out), len(held_out)
    place = -(-(math.ceil(coverage * (sum(held_out) + 1)) + members * (every - 1)) // every) - 1
    if place >= residuals.size:
        return np.tile([-np.inf, np.inf], (predicted.shape[1], 1))

    def upper(centers: Array) -> Array:
        ends = (centers.T[:, :, None] + residuals).reshape(-1, residuals.size)
        return np.asarray(np.partition(ends, place, axis=1)[:, place])

    return np.stack([-upper(-predicted), upper(predicted)], axis=1)
