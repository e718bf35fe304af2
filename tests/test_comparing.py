"""Statistics over splits against independent references."""

import itertools
import math

import baycomp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from thinned.studies.comparing import corrected_error, corrected_t, equivalence, holm, mean_interval

differences = st.lists(st.floats(-10, 10), min_size=2, max_size=30)


def test_the_corrected_t_follows_nadeau_and_bengio() -> None:
    d = [0.1, 0.3, 0.2, -0.05]
    found = corrected_t(d, 0.25)
    error = math.sqrt(np.var(d, ddof=1) * (1 / 4 + 0.25))
    assert corrected_error(d, 0.25) == pytest.approx(error)
    assert found.difference == pytest.approx(np.mean(d))
    assert found.high - found.difference == pytest.approx(stats.t.ppf(0.975, 3) * error)
    assert found.p_value == pytest.approx(2 * stats.t.sf(np.mean(d) / error, 3))
    assert corrected_t(d, 0.0).p_value == pytest.approx(stats.ttest_1samp(d, 0).pvalue)
    interval = mean_interval(d, 0.25)
    assert (interval["mean"], interval["low"], interval["high"]) == found[:3]


def test_equal_differences_have_an_interval_of_no_width() -> None:
    assert corrected_t([0.0, 0.0], 0.25)[:4] == (0.0, 0.0, 0.0, 1.0)
    assert corrected_t([0.5, 0.5], 0.25)[:4] == (0.5, 0.5, 0.5, 0.0)
    assert equivalence([0.5, 0.5], 0.25, 0.1) == (1.0, 0.0, 0.0)
    assert equivalence([0.1, 0.1], 0.25, 0.1) == (0.0, 1.0, 0.0)
    assert equivalence([-0.5, -0.5], 0.25, 0.1) == (0.0, 0.0, 1.0)


def test_the_detectable_difference_is_found_in_four_of_five_studies() -> None:
    """Independent splits, so no share: 4,000 studies whose true effect is the detectable one of its own error.

    The rejection rate is 0.8 but for the use of a shifted t in place of the non-central one, 0.003 at 9 degrees of
    freedom (checked by the second line); false-fail rate 1e-6 by the normal bound of 4.9 standard deviations.
    """
    splits, t = 10, stats.t(9)
    effect = t.ppf(0.975) + t.ppf(0.8)  # in standard errors
    exact = stats.nct.sf(t.ppf(0.975), 9, effect)
    assert exact == pytest.approx(0.8, abs=0.03)
    rng = np.random.default_rng(0)
    studies = rng.normal(effect / math.sqrt(splits), 1, (4000, splits))
    found = np.mean([corrected_t(d, 0.0).p_value < 0.05 for d in studies])
    assert abs(found - exact) < 4.9 * math.sqrt(exact * (1 - exact) / 4000)
    one = corrected_t(studies[0], 0.0)
    assert one.detectable == pytest.approx(effect * corrected_error(studies[0], 0.0))


@given(differences, st.integers(2, 10), st.floats(1e-3, 2))
def test_equivalence_is_that_of_baycomp(d: list[float], folds: int, rope: float) -> None:
    """baycomp takes splits of ``runs`` times k-fold cross-validation: n_test/n_train = 1/(k − 1)."""
    d = d * folds  # as many runs as there were values
    found = equivalence(d, 1 / (folds - 1), rope)
    worse, equal, better = baycomp.CorrelatedTTest.probs(np.zeros(len(d)), np.array(d), rope, runs=len(d) // folds)
    if corrected_error(d, 0.0) == 0:  # baycomp's own rounding decides there whether the region's border is within
        return
    assert found == pytest.approx((better, equal, worse), abs=1e-12)
    assert sum(found) == pytest.approx(1)


def closed_test(p: list[float], w: list[float]) -> list[float]:
    """Adjusted p-values by the closure principle: a hypothesis falls when every intersection with it does, by the
    weighted Bonferroni test. Exponential in the family, and nothing is sorted.
    """
    family = range(len(p))
    adjusted = [0.0] * len(p)
    for size in range(1, len(p) + 1):
        for some in itertools.combinations(family, size):
            local = min(1.0, *(p[i] * sum(w[j] for j in some) / w[i] for i in some))
            for i in some:
                adjusted[i] = max(adjusted[i], local)
    return adjusted


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 10)), min_size=1, max_size=7))
def test_holm_is_the_closed_test(family: list[tuple[float, float]]) -> None:
    p, w = [p for p, _ in family], [w for _, w in family]
    assert holm(p, w) == pytest.approx(closed_test(p, w), rel=1e-9, abs=1e-300)


def test_holm_without_weights_is_the_textbook_example() -> None:
    assert holm([0.01, 0.04, 0.03], [1, 1, 1]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.012, 0.5], [0.8, 0.2]) == pytest.approx([0.015, 0.5])
    assert holm([], []) == []


@pytest.mark.parametrize("false_nulls", [0, 1, 3])
def test_the_family_of_correlated_tests_keeps_its_error_rate(false_nulls: int) -> None:
    """Six t tests that share a control; false-fail rate 1e-6 (binomial, 4,000 families at a true rate of 5 %)."""
    rng = np.random.default_rng(false_nulls)
    alarms, weights = 0, [0.8, *[0.04] * 5]
    for _ in range(4000):
        control = rng.normal(size=10)
        arms = rng.normal(size=(6, 10))
        arms[:false_nulls] += 2
        adjusted = holm([corrected_t(arm - control, 0.0).p_value for arm in arms], weights)
        alarms += any(p <= 0.05 for p in adjusted[false_nulls:])
    assert alarms <= stats.binom.isf(1e-6, 4000, 0.05)
