"""Scores of many samples at once against those of the samples' rows, one by one."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from thinned.studies import metrics
from thinned.studies.examples import weighted_scores
from thinned.studies.examples.outcomes import count_right_tokens
from thinned.studies.examples.weighted_scores import RANKED, score_samples, score_tokens

COUNTS = np.random.default_rng(0).integers(0, 4, size=(5, 60))
COUNTS[0] = 1  # the rows themselves


def row_by_row(
    task: str, predicted: npt.NDArray[np.float64], y: npt.NDArray[np.generic], classes: int
) -> dict[str, list[float]]:
    rows = [np.repeat(np.arange(60), sample) for sample in COUNTS]
    each = [metrics.score(task, predicted[sample], y[sample], classes) for sample in rows]
    return {name: [scores[name] for scores in each] for name in each[0]}


@pytest.mark.parametrize("decimals", [0, 1, 8])  # from many ties to none
@pytest.mark.parametrize("classes", [2, 3])
def test_classes(classes: int, decimals: int) -> None:
    rng = np.random.default_rng(1)
    y = np.arange(60) % classes
    task = "binary" if classes == 2 else "multiclass"
    logits = np.round(np.eye(classes)[y] + rng.normal(size=(60, classes)), decimals)
    predicted = metrics.predictions(task, logits)
    expected = row_by_row(task, predicted, y, classes)
    found = score_samples(task, predicted, y, COUNTS)
    assert found.keys() == expected.keys() == set(metrics.names(task))
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-9, atol=1e-12, err_msg=name)
    without = score_samples(task, predicted, y, COUNTS, ranked=False)
    assert without.keys() == expected.keys() - set(RANKED)


def test_values() -> None:
    rng = np.random.default_rng(1)
    y = 1000 + rng.normal(size=60)
    predicted = y + rng.normal(size=60)
    expected = row_by_row("regression", predicted, y, 0)
    found = score_samples("regression", predicted, y, COUNTS)
    assert found.keys() == expected.keys() == set(metrics.names("regression"))
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-9, err_msg=name)


def test_a_sample_without_a_class_has_no_rank_score() -> None:
    y = np.array([0, 0, 1, 1])
    counts = np.array([[1, 1, 1, 1], [2, 2, 0, 0], [0, 0, 3, 1], [0, 0, 0, 0]])
    outputs = np.array([0.1, 0.2, 0.3, 0.4])
    found = score_samples("binary", np.stack([1 - outputs, outputs], 1), y, counts)
    np.testing.assert_array_equal(found["roc_auc"], [1, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(found["pr_auc"], [1, np.nan, 1, np.nan])
    np.testing.assert_array_equal(found["accuracy"], [0.5, 1, 0, np.nan])


def test_the_calibration_error_may_be_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    predicted, y = rng.dirichlet(np.ones(3), 200), rng.integers(0, 3, 200)
    counts = rng.poisson(1.0, (4, 200))
    whole = score_samples("multiclass", predicted, y, counts)["ece"]
    monkeypatch.setattr(weighted_scores, "_AT_ONCE", 37)
    np.testing.assert_allclose(score_samples("multiclass", predicted, y, counts)["ece"], whole, rtol=1e-12)


def test_tokens() -> None:
    """Examples have 3, 2 and 0 tokens; the second sample holds none that counts."""
    y = torch.tensor([[0, 1, 1], [1, 1, -100], [-100, -100, -100]])
    logits = torch.nn.functional.one_hot(torch.tensor([[0, 0, 1], [1, 0, 0], [0, 0, 0]]), 2).float()
    right, counted = count_right_tokens(logits, y).numpy().T
    np.testing.assert_array_equal(right, [2, 1, 0])
    found = score_tokens(right, counted, np.array([[1, 1, 1], [0, 0, 3], [2, 1, 0]]))
    np.testing.assert_allclose(found, [3 / 5, np.nan, 5 / 8])
