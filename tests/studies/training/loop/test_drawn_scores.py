"""Scores on samples of a given test set: the samples, what is kept of them, and how their interval covers."""

import dataclasses
import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from example_networks import blobs, trained

import thinned
from thinned.studies import metrics
from thinned.studies.analysis.crossed import crossed_draws
from thinned.studies.analysis.statistics import Spread
from thinned.studies.examples.examples import ExampleSet
from thinned.studies.examples.load import load_examples
from thinned.studies.examples.weighted_scores import score_samples
from thinned.studies.training.loop import drawn_scores as module
from thinned.studies.training.loop.drawn_scores import DRAWS, draw_counts, drawn_scores
from thinned.studies.training.loop.evaluation import Outcome

Array = npt.NDArray[np.float64]


def all_counts(units: npt.ArrayLike, seed: int = 0) -> npt.NDArray[np.integer]:
    return np.concatenate(list(draw_counts(np.asarray(units, dtype=np.int64), seed)))


def test_samples_are_drawn_with_replacement_and_follow_the_seed() -> None:
    counts = all_counts(np.arange(30))
    assert counts.shape == (DRAWS, 30)
    np.testing.assert_array_equal(counts.sum(1), 30)
    assert counts.max() > 2
    assert abs(counts.var() - 29 / 30) < 0.1  # that of a binomial count; 6,000 of them: 5 standard errors
    np.testing.assert_array_equal(all_counts(np.arange(30)), counts)
    assert (all_counts(np.arange(30), seed=1) != counts).any()


def test_groups_are_drawn_as_a_whole() -> None:
    units = np.repeat(np.arange(10), [1, 2, 3, 4, 5, 5, 4, 3, 2, 1])
    counts = all_counts(units)
    np.testing.assert_array_equal(counts, all_counts(np.arange(10))[:, units])


def test_samples_do_not_depend_on_how_many_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = all_counts(np.arange(30))
    for cells in (30 * 7, 1):
        monkeypatch.setattr(module, "_CELLS", cells)
        np.testing.assert_array_equal(all_counts(np.arange(30)), at_once)


def test_a_network_keeps_the_scores_of_each_sample() -> None:
    """The draws of a network's record are the scores of the samples' examples, and scatter around its own score."""
    network = trained(load_examples(thinned.Examples(blobs(60), test=blobs(30, seed=1))))
    assert network.drawn_scores is not None
    assert network.drawn_scores.best.keys() == set(metrics.names("multiclass"))
    for name, score in network.best.scores.items():
        draws = network.drawn_scores.values("best", name)
        if name == "loss":  # of which that of each example is kept
            assert draws is None
            continue
        assert draws is not None
        assert score is not None
        assert draws.shape == (DRAWS,)
        assert np.nanmin(draws) - 1e-6 <= score <= np.nanmax(draws) + 1e-6
    assert len(network.to_json()) < 20_000
    assert trained(load_examples(blobs(60))).drawn_scores is None  # a test fold is not given


def binary(count: int, groups: npt.NDArray[np.int64] | None = None) -> ExampleSet:
    x, y = torch.zeros(20, 1), torch.arange(20) % 2
    examples = load_examples(thinned.Examples((x, y), test=(torch.zeros(count, 1), torch.arange(count) % 2)))
    return dataclasses.replace(examples, test_groups=groups)


def outcome(outputs: Array, y: npt.NDArray[np.int64]) -> Outcome:
    return Outcome(torch.zeros(len(y)), torch.from_numpy(outputs), torch.from_numpy(y))


def test_a_large_test_set_keeps_no_scores_that_need_an_order(monkeypatch: pytest.MonkeyPatch) -> None:
    y = np.arange(40) % 2
    found = outcome(np.random.default_rng(0).normal(size=40), y)
    monkeypatch.setattr(module, "_MOST_RANKED", 80)
    assert "roc_auc" in drawn_scores(binary(40), found, found, 0).best
    monkeypatch.setattr(module, "_MOST_RANKED", 79)
    assert drawn_scores(binary(40), found, found, 0).best.keys() == {"log_loss", "accuracy", "brier", "ece"}


def test_outputs_that_a_score_of_the_users_own_understands_have_no_others() -> None:
    y = np.arange(40) % 2
    found = outcome(np.zeros((40, 5)), y)
    assert drawn_scores(binary(40), found, found, 0).best == {}
    lossless = Outcome(torch.zeros(40), None, None)
    assert drawn_scores(binary(40), lossless, lossless, 0).end == {}


@pytest.mark.parametrize(("seeds", "spread"), [(5, 0.05), (10, 0.6)])
def test_coverage(seeds: int, spread: float) -> None:
    """Intervals of ROC-AUC and accuracy hold the truth: 150 studies of 100 test examples, with other seeds in each.

    Class 1 is shifted by δ_s ~ N(1, spread²) against noise of variance 1, most of it common to all seeds. Coverage is
    at least 0.93 (``benchmarks/coverage_crossed.py``): 126 studies or fewer of 150 have a probability of 1e-4, for each
    of four intervals. Seeds alone cover far less where they vary little.
    """
    rng, examples, y = np.random.default_rng([seeds, 8]), binary(100), np.arange(100) % 2
    normal = lambda x: 0.5 * (1 + math.erf(x / math.sqrt(2)))  # noqa: E731
    truths = {
        "roc_auc": normal(1 / math.sqrt(2 + spread**2)),
        "accuracy": (normal(0.5) + normal(0.5 / math.sqrt(1 + spread**2))) / 2,
    }
    covered, alone_covered = dict.fromkeys(truths, 0), dict.fromkeys(truths, 0)
    for study in range(150):
        common = rng.normal(size=100) * math.sqrt(0.9) - 0.5
        shifts = 1 + spread * rng.normal(size=(seeds, 1))
        outputs = common + shifts * y + rng.normal(size=(seeds, 100)) * math.sqrt(0.1)
        kept = [drawn_scores(examples, found := outcome(own, y), found, study) for own in outputs]
        scores = [score_samples("binary", probabilities(own), y, np.ones((1, 100), dtype=int)) for own in outputs]
        for name, truth in truths.items():
            observed = np.concatenate([own[name] for own in scores])
            both = crossed_draws(observed, [own.values("best", name) for own in kept], 100)
            alone = Spread(float(observed.mean()), float(observed.std(ddof=1)) / math.sqrt(seeds), seeds - 1, seeds)
            covered[name] += holds(both, truth)
            alone_covered[name] += holds(alone, truth)
    assert min(covered.values()) > 126
    if spread < 0.1:
        assert max(alone_covered.values()) < 126


def probabilities(outputs: Array) -> Array:
    return metrics.predictions("binary", outputs[:, None])


def holds(spread: Spread, truth: float) -> bool:
    interval = spread.interval()
    return interval.low <= truth <= interval.high
