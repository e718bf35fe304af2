"""Statistics of seeds crossed with test examples: every network is scored on the same given test set.

The table of paired differences has a row for each seed and a column for each test example, one value a cell: a two-way
layout of random effects without replication. Seeds are drawn anew (validation deal, initial weights, order, masks), and
so are examples (the test set is a sample of a population); the training set is given.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from thinned.errors import InputError, sentence
from thinned.studies.analysis.statistics import Spread

__all__ = ["Score", "crossed", "crossed_bootstrap"]

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
#: a score of one network: outputs ``(n, ...)``, targets ``(n, ...)`` and, for each of some samples, how many times each
#: example is in it ``(samples, n)``; gives ``(samples,)``, NaN where a sample has no score
Score = Callable[[npt.NDArray[np.generic], npt.NDArray[np.generic], Integers], Array]

_CELLS = 2**20  # counts that are held at once: 8 MiB


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


def crossed_bootstrap(
    score: Score,
    outputs: npt.NDArray[np.generic],
    targets: npt.NDArray[np.generic],
    draws: int,
    rng: np.random.Generator,
    *,
    baseline: npt.NDArray[np.generic] | None = None,
    clusters: npt.ArrayLike | None = None,
) -> Spread:
    """Mean over seeds of a score that is no mean over examples, such as ROC-AUC; to be shown, not to decide by.

    Examples are drawn with replacement, the same for all seeds, and give a table (seeds, draws) of scores. Its columns'
    variance takes the place of B/n in :func:`crossed`, that of its residuals the place of E/(Sn). Seeds are few and are
    not drawn: A/S is measured on their scores. Drawing both and taking percentiles (pigeonhole bootstrap, Owen 2007;
    Multi-Bootstrap, Sellam et al. 2022) covers too little with few seeds (``benchmarks/coverage_crossed.py``).
    Draws without a score, as without an example of a class, are left out.

    Args:
        score: the score, for example :func:`thinned.studies.analysis.weighted_scores.roc_auc`.
        outputs: ``(seeds, examples, ...)`` outputs of one arm's networks.
        targets: ``(examples, ...)``.
        draws: number of samples of examples, at least two; 200 give the examples' variance to 10 %.
        rng: one of the study's streams: the same stream gives the same interval.
        baseline: outputs of another arm with the same seeds; then the mean is that of score(outputs) − score(baseline).
        clusters: ``(examples,)`` the cluster of each example; clusters are drawn as a whole.

    Returns:
        The spread; ``splits`` is the number of seeds.

    Raises:
        InputError: there are fewer than two seeds, examples, clusters, or draws with a score; a seed has no score on
            the whole test set; an output is not finite; the shapes of the two arms differ.
    """
    arms = [outputs] if baseline is None else [outputs, baseline]
    _check_outputs(arms)
    seeds, examples = outputs.shape[:2]
    codes = np.arange(examples) if clusters is None else _codes(clusters, examples)
    units = int(codes.max()) + 1
    observed = _scores(score, arms, targets, np.ones((1, examples), dtype=np.int64))[:, 0]
    batches = np.array_split(np.arange(draws), max(1, -(-draws * examples // _CELLS)))
    samples = (_counts(rng, len(batch), units).T[codes].T for batch in batches)
    table = np.concatenate([_scores(score, arms, targets, counts) for counts in samples], axis=1)
    table = table[:, np.isfinite(table).all(0)]
    if not np.isfinite(observed).all() or table.shape[1] < 2:
        raise InputError(
            sentence(
                "a score must exist on the whole test set and on at least two draws of it",
                f"got {np.isfinite(observed).sum()} of {seeds} seeds and {table.shape[1]} of {draws} draws",
                "give a test set with more examples of each class",
            )
        )
    return _spread_of_draws(observed, table, units)


def _check_outputs(arms: Sequence[npt.NDArray[np.generic]]) -> None:
    shape = arms[0].shape
    if any(outputs.shape != shape for outputs in arms) or len(shape) < 2 or min(shape[:2]) < 2:
        raise InputError(
            sentence(
                "outputs must be (seeds, examples, ...), the same for both arms, at least two of each",
                f"got {' and '.join(str(outputs.shape) for outputs in arms)}",
            )
        )
    if not all(np.isfinite(outputs).all() for outputs in arms):
        raise InputError(sentence("outputs must be finite", "got some that are not", "leave out what diverged"))


def _scores(
    score: Score, arms: Sequence[npt.NDArray[np.generic]], targets: npt.NDArray[np.generic], counts: Integers
) -> Array:
    """Scores of the first arm, less those of the second if there is one, ``(seeds, samples)``."""
    first, *others = (np.stack([score(own, targets, counts) for own in outputs]) for outputs in arms)
    return np.asarray(first - others[0] if others else first)


def _spread_of_draws(observed: Array, table: Array, units: int) -> Spread:
    """The spread from scores on the whole test set, ``(seeds,)``, and on draws of it, ``(seeds, draws)``."""
    seeds, draws = table.shape
    # a sample of as many units as there are has (units − 1)/units of the variance
    table = (table - table.mean()) * math.sqrt(units / (units - 1))
    of_draws = table.mean(0)
    residual = float(np.square(table - table.mean(1, keepdims=True) - of_draws).sum()) / ((seeds - 1) * (draws - 1))
    df = min(units, draws) - 1
    return _spread(
        float(observed.mean()),
        seeds,
        _MeanSquare(float(observed.var(ddof=1)) / seeds, seeds - 1),
        _MeanSquare(float(of_draws.var(ddof=1)), df),
        _MeanSquare(residual / seeds, (seeds - 1) * df),
    )


def _counts(rng: np.random.Generator, samples: int, units: int) -> Integers:
    """How often each unit is in each of some samples with replacement, ``(samples, units)``."""
    drawn = rng.integers(units, size=(samples, units)) * samples + np.arange(samples)[:, None]
    # the samples of one unit side by side in memory: scores sort units, and gather three times as fast
    return np.bincount(drawn.ravel(), minlength=samples * units).reshape(units, samples).T


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
