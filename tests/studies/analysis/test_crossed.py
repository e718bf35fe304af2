"""Statistics of seeds crossed with test examples against slow references, and their coverage."""

import itertools
import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from thinned import InputError
from thinned.studies.analysis.crossed import crossed, crossed_draws
from thinned.studies.analysis.statistics import Spread, paired_test

Array = npt.NDArray[np.float64]


@st.composite
def tables(draw: st.DrawFn) -> list[list[int]]:
    examples = draw(st.integers(2, 6))
    row = st.lists(st.integers(-50, 50), min_size=examples, max_size=examples)
    return draw(st.lists(row, min_size=2, max_size=5))


@given(tables())
def test_mean_error_and_degrees_of_freedom_are_those_of_exact_fractions(table: list[list[int]]) -> None:
    d = [[Fraction(value) for value in row] for row in table]
    seeds, examples = len(d), len(d[0])
    of_seed = [sum(row, Fraction()) / examples for row in d]
    of_example = [sum((row[i] for row in d), Fraction()) / seeds for i in range(examples)]
    mean = sum(of_seed, Fraction()) / seeds
    cells = itertools.product(range(seeds), range(examples))
    a = sum((m - mean) ** 2 for m in of_seed) / (seeds - 1) / seeds
    b = sum((m - mean) ** 2 for m in of_example) / (examples - 1) / examples
    squares = sum((d[s][i] - of_seed[s] - of_example[i] + mean) ** 2 for s, i in cells)
    e = squares / ((seeds - 1) * (examples - 1)) / (seeds * examples)
    variance = max(a + b - e, a, b)
    assume(variance)  # without any there are no terms to count
    assume(e not in (a, b))  # rounding decides whether equal terms count
    terms = [(e, (seeds - 1) * (examples - 1)), *([(a, seeds - 1)] * (a > e)), *([(b, examples - 1)] * (b > e))]
    df = variance**2 / sum(term**2 / term_df for term, term_df in terms)
    found = crossed(table)
    assert found.splits == seeds
    assert found.mean == pytest.approx(float(mean), abs=1e-12)
    assert (found.error, found.df) == pytest.approx((math.sqrt(variance), float(df)))


@given(tables(), st.integers(0, 99), st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_order_unit_and_sign_do_not_matter(table: list[list[int]], seed: int, unit: float, shift: float) -> None:
    d = np.array(table, dtype=np.float64)
    first = crossed(d)
    assume(first.error > 0)
    rng = np.random.default_rng(seed)
    shuffled = d[rng.permutation(len(d))][:, rng.permutation(d.shape[1])]
    for changed, sign in ((shuffled, 1), (-d, -1)):
        assert crossed(changed)[:2] == pytest.approx((sign * first.mean, first.error))
    assert crossed(unit * d + shift)[:2] == pytest.approx((unit * first.mean + shift, unit * first.error), abs=1e-9)


def test_seeds_alone_and_examples_alone_give_the_ordinary_t_test() -> None:
    values = np.array([0.5, 0.25, -0.125, 1.0, 0.75])
    expected = stats.ttest_1samp(values, 0).pvalue
    of_seeds = crossed(np.tile(values[:, None], 8))
    assert paired_test(of_seeds).p_value == pytest.approx(expected)
    assert (of_seeds.df, of_seeds.splits) == (pytest.approx(4), 5)
    of_examples = crossed(np.tile(values, (8, 1)))
    assert paired_test(of_examples).p_value == pytest.approx(expected)
    assert (of_examples.df, of_examples.splits) == (pytest.approx(4), 8)


def test_no_difference_has_an_interval_of_no_width() -> None:
    assert crossed(np.zeros((2, 2))) == Spread(0.0, 0.0, 1, 2)
    assert paired_test(crossed(np.full((3, 4), 0.5)))[:4] == (0.5, 0.5, 0.5, 0.0)


@pytest.mark.parametrize("shape", [(1, 10), (10, 1), (0, 5), (10,), (2, 2, 2)])
def test_one_seed_or_one_example_shows_no_variance(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="at least two seeds and two test examples"):
        crossed(np.zeros(shape))


def test_a_loss_that_is_no_number_is_located() -> None:
    d = np.zeros((3, 4))
    d[1, 2] = np.nan
    with pytest.raises(InputError, match=r"must be finite; seed 1, example 2 has nan"):
        crossed(d)


def slow_clustered(d: Array, clusters: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Variance and degrees of freedom from the linearised table, cell by cell."""
    seeds, examples = d.shape
    names = sorted(set(clusters.tolist()))
    z = np.empty((seeds, len(names)))
    for s, (i, name) in itertools.product(range(seeds), enumerate(names)):
        z[s, i] = d[s].mean() + len(names) / examples * sum(v - d[s].mean() for v in d[s, clusters == name])
    spread = crossed(z)
    return spread.error, spread.df


def test_clusters_are_linearised() -> None:
    rng = np.random.default_rng(0)
    clusters = np.repeat([3, 0, 9, 4, 7], [1, 5, 2, 8, 3])
    d = rng.normal(size=(4, 19)) + rng.normal(size=(4, 1)) + rng.normal(size=10)[clusters]
    found = crossed(d, clusters)
    assert found.mean == pytest.approx(d.mean())
    assert (found.error, found.df) == pytest.approx(slow_clustered(d, clusters))
    assert found.error > crossed(d).error
    order = rng.permutation(19)
    assert crossed(d[:, order], clusters[order]) == pytest.approx(found)
    assert crossed(d, [f"speaker {c}" for c in clusters]) == pytest.approx(found)


def test_clusters_of_one_example_are_examples() -> None:
    d = np.random.default_rng(0).normal(size=(5, 30))
    assert crossed(d, np.arange(30)) == pytest.approx(crossed(d))


def test_copies_of_examples_add_nothing_where_they_are_clusters() -> None:
    d = np.random.default_rng(0).normal(size=(5, 30))
    assert crossed(np.repeat(d, 4, axis=1), np.repeat(np.arange(30), 4)) == pytest.approx(crossed(d))


def test_seeds_that_shift_all_examples_alike_show_no_residual_in_clusters_of_unequal_size() -> None:
    """The residual would hold seed × size of the cluster if the table were not linearised seed by seed."""
    sizes = [1, 20, 3, 7]
    seeds = np.array([[0.0], [1.0], [4.0]])
    found = crossed(np.tile(seeds, sum(sizes)), np.repeat(np.arange(4), sizes))
    assert found.error == pytest.approx(seeds.std(ddof=1) / math.sqrt(3))
    assert found.df == pytest.approx(2)


def test_clusters_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="one entry for each test example; got shape"):
        crossed(np.zeros((2, 5)), np.arange(4))
    with pytest.raises(InputError, match="at least two clusters"):
        crossed(np.zeros((2, 5)), np.zeros(5))


@pytest.mark.parametrize(
    ("shares", "seeds"),
    [((1, 0, 0), 5), ((0.9, 0.1, 0), 5), ((0, 1, 0), 5), ((0, 0, 1), 5), ((0.4, 0.1, 0.5), 5), ((0.4, 0.1, 0.5), 10)],
)
def test_coverage(shares: tuple[float, float, float], seeds: int) -> None:
    """1,000 studies of 50 examples; shares of the variance of the mean due to seeds, examples and residual.

    Coverage lies between 0.941 and 0.972 (20,000 studies); the limits are 4.9 standard errors away, so each
    false-fails with a probability of 1e-6. Seeds or examples alone cover far less where the other dominates.
    """
    rng = np.random.default_rng(8)
    of_seeds, of_examples, residual = np.sqrt(np.array(shares) * (seeds, 50, seeds * 50))
    covered = np.zeros(3)
    for _ in range(1000):
        d = of_seeds * rng.normal(size=(seeds, 1)) + of_examples * rng.normal(size=50)
        d = d + residual * rng.normal(size=(seeds, 50))
        for i, spread in enumerate([crossed(d), one_way(d.mean(1)), one_way(d.mean(0))]):
            interval = spread.interval()
            covered[i] += interval.low <= 0 <= interval.high
    both, seeds_alone, examples_alone = covered / 1000
    assert 0.941 - 0.037 < both < 0.972 + 0.026
    if shares[0] >= 0.9:
        assert examples_alone < 0.6
    if shares[1] == 1:
        assert seeds_alone < 0.6


def one_way(values: Array) -> Spread:
    return Spread(
        float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values)), len(values) - 1, len(values)
    )


def draws_of(values: Array, draws: int, rng: np.random.Generator, clusters: npt.NDArray[np.int64]) -> Array:
    """Means over samples of clusters, ``(seeds, draws)``."""
    units = int(clusters.max()) + 1
    counts = rng.multinomial(units, np.full(units, 1 / units), draws)[:, clusters]
    return np.asarray(values @ counts.T / counts.sum(1))


def test_draws_of_a_mean_have_the_error_of_the_formula() -> None:
    """The draws' variance has a standard error of 2 % with 5,000 draws: the error is 1 % off, allowed 5 %."""
    rng = np.random.default_rng(0)
    for d in (rng.normal(size=(5, 60)), rng.normal(size=(5, 60)) + rng.normal(size=60) + rng.normal(size=(5, 1))):
        for clusters in (np.arange(60), np.repeat(np.arange(20), 3)):
            units = int(clusters.max()) + 1
            found, expected = crossed_draws(d.mean(1), draws_of(d, 5000, rng, clusters), units), crossed(d, clusters)
            assert found.mean == pytest.approx(expected.mean)
            assert found.error == pytest.approx(expected.error, rel=0.05)
            assert found.splits == 5


def test_a_score_that_does_not_exist_is_refused() -> None:
    rng = np.random.default_rng(0)
    scores, draws = rng.normal(size=6), rng.normal(size=(6, 20))
    with pytest.raises(InputError, match=r"got 5 of 6 seeds, 20 draws and 9 examples"):
        crossed_draws([*scores[:5], np.nan], draws, 9)
    with pytest.raises(InputError, match="1 draws"):
        crossed_draws(scores, np.where(np.arange(20) < 19, np.nan, draws), 9)
    with pytest.raises(InputError, match="1 of 1 seeds"):
        crossed_draws(scores[:1], draws[:1], 9)
    with pytest.raises(InputError, match="and 1 examples"):
        crossed_draws(scores, draws, 1)


def test_draws_without_a_score_are_left_out() -> None:
    rng = np.random.default_rng(0)
    scores, draws = rng.normal(size=6), rng.normal(size=(6, 30))
    some = draws.copy()
    some[3, 20:] = np.nan
    assert crossed_draws(scores, some, 9) == crossed_draws(scores, draws[:, :20], 9)
