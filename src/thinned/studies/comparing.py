"""Statistics of differences over resampled splits: intervals, tests, multiplicity, practical equivalence."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

__all__ = ["Comparison", "Posterior", "corrected_error", "corrected_t", "equivalence", "holm", "mean_interval"]

Values = Sequence[float] | npt.NDArray[np.float64]
_CONFIDENCE = 0.95
_POWER = 0.8


class Comparison(NamedTuple):
    """Paired comparison over resampled splits.

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
    """Probabilities that an arm is better by more than the half-width of the region of equivalence, within, worse."""

    p_better: float
    p_equal: float
    p_worse: float


def corrected_error(values: Values, test_share: float) -> float:
    """Standard error of the mean over splits (Nadeau & Bengio 2003, eq. 4).

    The splits share rows, so their values are correlated, and the plain variance s²/J is too small. It is replaced by
    s² (1/J + n_test/n_train).

    Args:
        values: one of each split, at least two.
        test_share: n_test / n_train of a split.
    """
    v = np.asarray(values, dtype=np.float64)
    return math.sqrt(v.var(ddof=1) * (1 / len(v) + test_share))


def corrected_t(differences: Values, test_share: float) -> Comparison:
    """Corrected resampled t interval and test, with J − 1 degrees of freedom; arguments of :func:`corrected_error`."""
    error, splits = corrected_error(differences, test_share), len(differences)
    df = splits - 1
    mean, reach = float(np.mean(differences)), float(special.stdtrit(df, 0.5 + _CONFIDENCE / 2))
    p_value = 2 * float(special.stdtr(df, -abs(mean) / error)) if error else float(mean == 0)
    detectable = (reach + float(special.stdtrit(df, _POWER))) * error
    return Comparison(mean, mean - reach * error, mean + reach * error, p_value, detectable, splits)


def mean_interval(values: Values, test_share: float) -> dict[str, float]:
    """Mean over splits with its corrected 95 % interval."""
    interval = corrected_t(values, test_share)
    return {"mean": interval.difference, "low": interval.low, "high": interval.high}


def equivalence(differences: Values, test_share: float, rope: float) -> Posterior:
    """Bayesian correlated t (Corani & Benavoli 2015) with a region of practical equivalence (Benavoli et al. 2017).

    Under the reference prior the posterior of the mean difference is a Student t with J − 1 degrees of freedom about
    the mean, whose scale is the corrected standard error: ρ/(1 − ρ) = n_test/n_train.

    Args:
        differences: one of each split, positive where the arm is better.
        test_share: n_test / n_train of a split.
        rope: half-width of the region.
    """
    mean, error = float(np.mean(differences)), corrected_error(differences, test_share)
    if not error:
        return Posterior(float(mean > rope), float(abs(mean) <= rope), float(mean < -rope))
    df = len(differences) - 1
    better, worse = (float(special.stdtr(df, (side * mean - rope) / error)) for side in (1, -1))
    return Posterior(better, max(0.0, 1 - better - worse), worse)


def holm(p_values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Adjusted p-values of Holm's weighted step-down test (Holm 1979, section 4).

    Rejecting where the adjusted value is at most α keeps the probability of any false rejection in the family at or
    below α, whichever hypotheses are true and however the tests depend on each other.

    Args:
        p_values: of the declared family.
        weights: positive; equal weights give Holm's ordinary procedure.
    """
    p, w = np.asarray(p_values, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    order = np.argsort(p / w, kind="stable")
    remaining = np.cumsum(w[order][::-1])[::-1]
    stepped = np.minimum(np.maximum.accumulate(p[order] * remaining / w[order]), 1.0)
    adjusted = np.empty_like(p)
    adjusted[order] = stepped
    return [float(value) for value in adjusted]
