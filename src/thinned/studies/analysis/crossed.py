"""Statistics of seeds crossed with test examples: every network is scored on the same given test set.

The table of paired differences has a row for each seed and a column for each test example, one value a cell: a two-way
layout of random effects without replication. Seeds are drawn anew (validation deal, initial weights, order, masks), and
so are examples (the test set is a sample of a population); the training set is given.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from thinned.errors import InputError, sentence
from thinned.studies.analysis.statistics import Spread

__all__ = ["crossed", "crossed_draws"]

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]


class _MeanSquare(NamedTuple):
    """What one mean square adds to the variance of the mean, and its degrees of freedom."""

    variance: float
    df: float


def crossed(differences: npt.ArrayLike, clusters: npt.ArrayLike | None = None) -> Spread:
    """Mean over seeds and test examples; both vary, and so does what a seed makes of an example.

    Model: d_si = μ + seed_s + example_i + residual_si, all random. The mean squares A of the S seeds' means, B of the n
    examples' means and E of the residual estimate the variance of the mean without bias by A/S + B/n − E/(Sn): the
    residual is in both A and B and is taken off once (Searle, Casella & McCulloch 1992, Variance Components; Owen 2007,
    The pigeonhole bootstrap; with ``clusters``, Cameron, Gelbach & Miller 2011, Robust inference with multiway
    clustering). It is never taken to be below A/S or B/n, what seeds alone and examples alone would give:

        V = max(A/S + B/n − E/(Sn), A/S, B/n)

    Degrees of freedom are Satterthwaite's (1946) for such a sum, V² / Σ (term² / its degrees of freedom). A/S is left
    out of this sum where it is at most E/(Sn), and so is B/n: seeds, or examples, then show no variance of their own.
    To keep them would widen the interval where the residual dominates, and its coverage is the greatest there anyway
    (``benchmarks/coverage_crossed.py``).

    Args:
        differences: ``(seeds, examples)``, at least two of each, for example baseline loss − arm's loss.
        clusters: ``(examples,)`` the cluster of each example, where examples come in clusters that are drawn as a
            whole (speakers, documents). The mean stays that over examples, a ratio of two means over clusters, whose
            variance is that of its linear approximation.

    Returns:
        The spread; ``splits`` is the number of seeds.

    Raises:
        InputError: there are fewer than two seeds, examples or clusters, or a difference is not finite.
    """
    table = _checked(differences)
    seeds, examples = table.shape
    mean = float(table.mean())
    table = table - mean
    of_seeds = table.mean(1, keepdims=True)
    table = table - of_seeds
    if clusters is not None:
        table = _sums(table, _codes(clusters, examples))
    units = table.shape[1]
    table = table * (units / examples)
    of_units = table.mean(0)
    residual = float(np.square(table - of_units).sum()) / ((seeds - 1) * (units - 1))
    return _spread(
        mean,
        seeds,
        _MeanSquare(float(np.square(of_seeds).sum()) / (seeds - 1) / seeds, seeds - 1),
        _MeanSquare(float(np.square(of_units).sum()) / (units - 1) / units, units - 1),
        _MeanSquare(residual / seeds / units, (seeds - 1) * (units - 1)),
    )


def crossed_draws(observed: npt.ArrayLike, draws: npt.ArrayLike, units: int) -> Spread:
    """Mean over seeds of a score that is no mean over examples, such as ROC-AUC; to be shown, not to decide by.

    The draws are samples of the test set with replacement, the same for all seeds. Their columns' variance takes the
    place of B/n in :func:`crossed`, that of their residuals the place of E/(Sn). Seeds are few and are not drawn: A/S
    is measured on their scores. Drawing both and taking percentiles (pigeonhole bootstrap, Owen 2007; Multi-Bootstrap,
    Sellam et al. 2022) covers too little with few seeds (``benchmarks/coverage_crossed.py``).

    Args:
        observed: ``(seeds,)`` each seed's score on the whole test set, or a difference of two arms' scores.
        draws: ``(seeds, draws)`` the same on each draw. Draws without a score, as without an example of a class, are
            NaN, and are left out.
        units: number of the examples, or of the clusters, that are drawn.

    Returns:
        The spread; ``splits`` is the number of seeds.

    Raises:
        InputError: there are fewer than two seeds, units, or draws with a score; a seed has no score on the whole test
            set.
    """
    scores, table = np.asarray(observed, dtype=np.float64), np.asarray(draws, dtype=np.float64)
    seeds = len(scores)
    table = table[:, np.isfinite(table).all(0)]
    if not np.isfinite(scores).all() or min(seeds, units, table.shape[1]) < 2:
        raise InputError(
            sentence(
                "a score must exist on the whole test set and on at least two draws of it, of two seeds and examples",
                f"got {np.isfinite(scores).sum()} of {seeds} seeds, {table.shape[1]} draws and {units} examples",
                "give a test set with more examples of each class",
            )
        )
    # a sample of as many units as there are has (units − 1)/units of the variance
    table = (table - table.mean()) * math.sqrt(units / (units - 1))
    of_draws = table.mean(0)
    number = table.shape[1]
    residual = float(np.square(table - table.mean(1, keepdims=True) - of_draws).sum()) / ((seeds - 1) * (number - 1))
    df = min(units, number) - 1
    return _spread(
        float(scores.mean()),
        seeds,
        _MeanSquare(float(scores.var(ddof=1)) / seeds, seeds - 1),
        _MeanSquare(float(of_draws.var(ddof=1)), df),
        _MeanSquare(residual / seeds, (seeds - 1) * df),
    )


def _checked(differences: npt.ArrayLike) -> Array:
    table = np.asarray(differences, dtype=np.float64)
    if table.ndim != 2 or min(table.shape) < 2:
        raise InputError(
            sentence(
                "differences must have at least two seeds and two test examples, as (seeds, examples)",
                f"got shape {table.shape}",
                "train with more seeds, or give more test examples",
            )
        )
    if not np.isfinite(table).all():
        seed, example = np.argwhere(~np.isfinite(table))[0]
        raise InputError(
            sentence(
                "differences must be finite",
                f"seed {seed}, example {example} has {table[seed, example]}",
                "look for a loss that is no number",
            )
        )
    return table


def _codes(clusters: npt.ArrayLike, examples: int) -> Integers:
    """The clusters numbered from 0; at least two."""
    given = np.asarray(clusters)
    if given.shape != (examples,):
        raise InputError(sentence("clusters must have one entry for each test example", f"got shape {given.shape}"))
    values, codes = np.unique(given, return_inverse=True)
    if len(values) < 2:
        raise InputError(
            sentence("the test examples must come from at least two clusters", "got one", "leave clusters out")
        )
    return codes


def _sums(table: Array, codes: Integers) -> Array:
    """Sums over the examples of each cluster, ``(seeds, clusters)``."""
    return np.stack([np.bincount(codes, weights=row) for row in table])


def _spread(mean: float, seeds: int, rows: _MeanSquare, columns: _MeanSquare, residual: _MeanSquare) -> Spread:
    """The variance of the mean and Satterthwaite's degrees of freedom."""
    a, b, e = rows.variance, columns.variance, residual.variance
    variance = max(a + b - e, a, b)
    if not variance:
        return Spread(mean, 0.0, rows.df, seeds)
    terms = [part for part in (rows, columns) if part.variance > e]
    df = 1 / sum((part.variance / variance) ** 2 / part.df for part in [*terms, residual])
    return Spread(mean, math.sqrt(variance), df, seeds)
