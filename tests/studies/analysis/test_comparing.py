"""Statistics over splits against independent references."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from thinned.studies.analysis.statistics import Spread, equivalence, holm, nadeau_bengio, paired_test, resampled

differences = st.lists(st.floats(-10, 10), min_size=2, max_size=30)


def test_nadeau_and_bengios_correction() -> None:
    d = np.array([0.1, 0.3, 0.2, -0.05])
    found = paired_test(nadeau_bengio(d, 0.25))
    error = math.sqrt(np.var(d, ddof=1) * (1 / 4 + 0.25))
    assert found.difference == pytest.approx(np.mean(d))
    assert found.high - found.difference == pytest.approx(stats.t.ppf(0.975, 3) * error)
    assert found.p_value == pytest.approx(2 * stats.t.sf(np.mean(d) / error, 3))
    assert paired_test(nadeau_bengio(d, 0.0)).p_value == pytest.approx(stats.ttest_1samp(d, 0).pvalue)


@given(differences)
def test_one_repeat_is_the_ordinary_t_test(d: list[float]) -> None:
    spread = resampled(np.array([d]))
    if spread.error > 1e-6:
        assert paired_test(spread).p_value == pytest.approx(stats.ttest_1samp(d, 0).pvalue, rel=1e-6)
    assert (spread.splits, spread.df) == (len(d), len(d) - 1)


@given(differences, st.integers(2, 5))
def test_repeats_that_agree_tell_nothing_new(d: list[float], repeats: int) -> None:
    again = resampled(np.array([d] * repeats))
    assert again.error == pytest.approx(resampled(np.array([d])).error, abs=1e-12)
    assert again.df == 2 * (len(d) - 1)


def test_repeats_that_differ_as_much_as_folds_count_as_independent() -> None:
    d = np.random.default_rng(0).normal(size=(2, 5)) + np.array([[0.0], [3.0]])
    within = d.var(axis=1, ddof=1).mean()
    assert resampled(d).error == pytest.approx(math.sqrt(within / 10))
    near = d - d.mean(1, keepdims=True) + np.array([[0.0], [0.1]])  # less than folds would make them
    assert resampled(near).error == pytest.approx(math.sqrt(within / 5 - 0.1**2 / 2 / 2))


def test_splits_without_a_value_are_left_out() -> None:
    d = np.random.default_rng(0).normal(size=(3, 5))
    d[1, 2:] = np.nan
    d[2] = np.nan
    found = resampled(d)
    assert (found.splits, found.df) == (7, 5.0)
    assert found.mean == pytest.approx(np.nanmean(d))
    left = resampled(d[:1])
    assert resampled(np.stack([d[0], np.full(5, np.nan)])) == left


def test_equal_differences_have_an_interval_of_no_width() -> None:
    assert paired_test(resampled(np.zeros((1, 2))))[:4] == (0.0, 0.0, 0.0, 1.0)
    assert paired_test(resampled(np.full((2, 2), 0.5)))[:4] == (0.5, 0.5, 0.5, 0.0)
    assert equivalence(Spread(0.5, 0.0, 1, 2), 0.1) == (1.0, 0.0, 0.0)
    assert equivalence(Spread(0.1, 0.0, 1, 2), 0.1) == (0.0, 1.0, 0.0)
    assert equivalence(Spread(-0.5, 0.0, 1, 2), 0.1) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize("repeats", [2, 5])
@pytest.mark.parametrize("of_rows", [0.0, 0.5, 1.0])
def test_coverage_over_repeated_cross_validation(of_rows: float, repeats: int) -> None:
    """2,000 studies of 100 rows in 5 folds, dealt anew for each repeat: rows differ in what they gain, and so do
    networks; ``of_rows`` is the share of a fold's variance that comes from its rows.

    Where all of it does, repeats tell nothing new, and the plain t test covers far too little; Nadeau & Bengio's covers
    too much where none of it does. Coverage lies between 0.932 and 0.979 (20,000 studies); the limits are 4.9 standard
    errors away, so each false-fails with a probability of 1e-6.
    """
    rng = np.random.default_rng(8)
    covered = np.zeros(3)
    for _ in range(2000):
        gains = rng.normal(size=100) * math.sqrt(20 * of_rows)
        dealt = np.stack([gains[rng.permutation(100)].reshape(5, 20).mean(1) for _ in range(repeats)])
        d = dealt + math.sqrt(1 - of_rows) * rng.normal(size=dealt.shape)
        for i, spread in enumerate([resampled(d), nadeau_bengio(d, 0.0), nadeau_bengio(d, 0.25)]):
            interval = spread.interval()
            covered[i] += interval.low <= 0 <= interval.high
    measured, plain, supposed = covered / 2000
    assert 0.932 - 0.028 < measured < 0.979 + 0.016
    if of_rows == 0:
        assert supposed > 0.98
    if of_rows == 1:
        assert plain < 0.88


def test_the_detectable_difference_is_found_in_four_of_five_studies() -> None:
    """4,000 studies of ten independent splits whose true effect is the detectable one of their true error.

    The rejection rate is 0.8 but for the use of a shifted t in place of the non-central one (the second assertion);
    false-fail rate 1e-6 by the normal bound of 4.9 standard deviations.
    """
    splits, t = 10, stats.t(9)
    effect = t.ppf(0.975) + t.ppf(0.8)  # in standard errors
    exact = stats.nct.sf(t.ppf(0.975), 9, effect)
    assert exact == pytest.approx(0.8, abs=0.03)
    rng = np.random.default_rng(0)
    studies = rng.normal(effect / math.sqrt(splits), 1, (4000, 1, splits))
    found = np.mean([paired_test(resampled(d)).p_value < 0.05 for d in studies])
    assert abs(found - exact) < 4.9 * math.sqrt(exact * (1 - exact) / 4000)
    one = resampled(studies[0])
    assert paired_test(one).detectable == pytest.approx(effect * one.error)


@given(differences, st.integers(2, 10), st.floats(1e-3, 2))
def test_equivalence_is_that_of_baycomp(d: list[float], folds: int, rope: float) -> None:
    """baycomp supposes Nadeau & Bengio's correlation: n_test/n_train = 1/(k − 1)."""
    baycomp = pytest.importorskip("baycomp")
    values = np.array(d * folds)  # as many runs as there were values
    spread = nadeau_bengio(values, 1 / (folds - 1))
    if spread.error == 0:  # baycomp's own rounding decides there whether the region's border is within
        return
    found = equivalence(spread, rope)
    worse, equal, better = baycomp.CorrelatedTTest.probs(np.zeros(len(values)), values, rope, runs=len(d))
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
    """Six t tests that share a control; false-fail rate 1e-6 (binomial, 2,000 families at a true rate of 5 %)."""
    rng = np.random.default_rng(false_nulls)
    alarms, weights = 0, [0.8, *[0.04] * 5]
    for _ in range(2000):
        control = rng.normal(size=10)
        arms = rng.normal(size=(6, 10))
        arms[:false_nulls] += 2
        adjusted = holm([paired_test(resampled((arm - control)[None])).p_value for arm in arms], weights)
        alarms += any(p <= 0.05 for p in adjusted[false_nulls:])
    assert alarms <= stats.binom.isf(1e-6, 2000, 0.05)
