"""Statistics of differences over resampled splits: intervals, tests, multiplicity, practical equivalence."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from thinned.studies.results import Interval

__all__ = ["PairedTest", "Posterior", "Spread", "equivalence", "holm", "nadeau_bengio", "paired_test", "resampled"]

Array = npt.NDArray[np.float64]
_CONFIDENCE = 0.95
_POWER = 0.8


class Spread(NamedTuple):
    """A mean over splits, its standard error, and the degrees of freedom of that error."""

    mean: float
    error: float
    df: float
    splits: int

    def interval(self) -> Interval:
        """The mean and its 95 % interval."""
        half_width = _quantile(self.df, 0.5 + _CONFIDENCE / 2) * self.error
        return Interval(mean=self.mean, low=self.mean - half_width, high=self.mean + half_width)


class PairedTest(NamedTuple):
    """Test of a paired difference over resampled splits.

    ``difference`` is the mean over splits of what one arm takes off the loss of the other: positive where it is
    better. ``detectable`` is the smallest true difference that the design finds in 80 % of studies, tested alone.
    """

    difference: float
    low: float
    high: float
    p_value: float
    detectable: float
    splits: int


class Posterior(NamedTuple):
    """Probabilities that an arm is better than the region of practical equivalence, within it, and worse."""

    p_better: float
    p_equal: float
    p_worse: float


def resampled(values: Array) -> Spread:
    """Mean over repeated k-fold splits; the correlation between the repeats is measured.

    Folds of one repeat share no test row and count as independent: with variance W between them, a repeat's mean has
    variance W/k (for k-fold cross-validation: Bayle et al. 2020). One part of W is noise of the networks and of how
    the rows were dealt, which differs between repeats. The other part belongs to the rows and is the same in all
    repeats. The variance B between the means of the r repeats estimates the first part. Averaging leaves 1/r of it,
    so the variance of the mean over all splits is W/k − (1 − 1/r) B, but at least W/(r k), that of independent
    splits. Degrees of freedom are min(r, 2) (k − 1): repeats beyond the second deal the same rows once more and add
    little about W (``benchmarks/coverage.py`` measures the coverage).

    Args:
        values: ``(repeats, folds)``; NaN where a split has no value. At least one repeat has more than one value.
    """
    counts = np.isfinite(values).sum(1)
    known, counts = values[counts > 0], counts[counts > 0]
    means = np.nanmean(known, axis=1)
    splits, repeats = int(counts.sum()), len(means)
    within = float(np.nansum((known - means[:, None]) ** 2)) / (splits - repeats)
    between = float(means.var(ddof=1)) if repeats > 1 else 0.0
    variance = max(within * repeats / splits - (1 - 1 / repeats) * between, within / splits)
    df = (splits / repeats - 1) * min(repeats, 2)
    return Spread(float(np.nanmean(known)), math.sqrt(variance), df, splits)


def nadeau_bengio(values: Array, test_train_ratio: float) -> Spread:
    """Mean over splits with an assumed correlation of n_test / (n_test + n_train) (Nadeau & Bengio 2003, eq. 4).

    The plain variance s²/J is replaced by s² (1/J + n_test/n_train). The assumption is made for splits that are each
    dealt anew. Splits of cross-validation share no test row and are correlated less: the interval is too wide.

    Args:
        values: one value of each split, in any shape, at least two.
        test_train_ratio: n_test / n_train of a split.
    """
    splits = values.size
    error = math.sqrt(float(values.var(ddof=1)) * (1 / splits + test_train_ratio))
    return Spread(float(values.mean()), error, splits - 1, splits)


def paired_test(spread: Spread) -> PairedTest:
    """Interval, two-sided t test of no difference, and the difference that the design can detect."""
    interval = spread.interval()
    mean, error, df, splits = spread
    p_value = 2 * float(special.stdtr(df, -abs(mean) / error)) if error else float(mean == 0)
    detectable = (_quantile(df, 0.5 + _CONFIDENCE / 2) + _quantile(df, _POWER)) * error
    return PairedTest(mean, interval.low, interval.high, p_value, detectable, splits)


def _quantile(df: float, probability: float) -> float:
    return float(special.stdtrit(df, probability))


def equivalence(spread: Spread, rope: float) -> Posterior:
    """Bayesian correlated t (Corani & Benavoli 2015) with a region of practical equivalence (Benavoli et al. 2017).

    Under the reference prior, the posterior of the mean difference is a Student t around the mean whose scale is the
    standard error.

    Args:
        spread: the differences' spread; they are positive where the arm is better.
        rope: half-width of the region.
    """
    mean, error, df, _ = spread
    if not error:
        return Posterior(float(mean > rope), float(abs(mean) <= rope), float(mean < -rope))
    better, worse = (float(special.stdtr(df, (side * mean - rope) / error)) for side in (1, -1))
    return Posterior(better, max(0.0, 1 - better - worse), worse)


def holm(p_values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Adjusted p-values of Holm's weighted step-down test (Holm 1979, section 4).

    Rejecting where the adjusted value is at most α keeps the probability of any false rejection in the family at or
    below α, whichever hypotheses are true and however the tests depend on each other.

    Args:
        p_values: p-values of the declared family.
        weights: positive weights; equal ones give Holm's ordinary procedure.
    """
    p, w = np.asarray(p_values, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    order = np.argsort(p / w, kind="stable")
    remaining = np.cumsum(w[order][::-1])[::-1]
    stepped = np.minimum(np.maximum.accumulate(p[order] * remaining / w[order]), 1.0)
    adjusted = np.empty_like(p)
    adjusted[order] = stepped
    return [float(value) for value in adjusted]
