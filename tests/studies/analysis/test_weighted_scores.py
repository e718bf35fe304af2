"""Scores of many samples at once against scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics

from thinned.studies.analysis.weighted_scores import average_precision, by_rows, roc_auc

RNG = np.random.default_rng(0)
COUNTS = RNG.integers(0, 4, size=(5, 60))


@pytest.mark.parametrize("decimals", [0, 1, 8])  # from many ties to none
def test_two_classes(decimals: int) -> None:
    y = RNG.integers(2, size=60)
    outputs = np.round(y + RNG.normal(size=60), decimals)
    for ours, theirs in ((roc_auc, metrics.roc_auc_score), (average_precision, metrics.average_precision_score)):
        expected = [theirs(y, outputs, sample_weight=sample) for sample in COUNTS]
        np.testing.assert_allclose(ours(outputs, y, COUNTS), expected, rtol=1e-12)
        np.testing.assert_array_equal(ours(outputs[:, None], y, COUNTS), ours(outputs, y, COUNTS))


def test_more_classes_have_the_mean_of_one_against_the_rest() -> None:
    y = np.arange(60) % 3
    outputs = RNG.dirichlet(np.ones(3), size=60)
    expected = [metrics.roc_auc_score(y, outputs, multi_class="ovr", sample_weight=sample) for sample in COUNTS]
    np.testing.assert_allclose(roc_auc(outputs, y, COUNTS), expected, rtol=1e-12)
    expected = [metrics.average_precision_score(np.eye(3)[y], outputs, sample_weight=sample) for sample in COUNTS]
    np.testing.assert_allclose(average_precision(outputs, y, COUNTS), expected, rtol=1e-12)


def test_a_sample_without_a_class_has_no_score() -> None:
    y = np.array([0, 0, 1, 1])
    counts = np.array([[1, 1, 1, 1], [2, 2, 0, 0], [0, 0, 3, 1], [0, 0, 0, 0]])
    outputs = np.array([0.1, 0.2, 0.3, 0.4])
    np.testing.assert_array_equal(roc_auc(outputs, y, counts), [1, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(average_precision(outputs, y, counts), [1, np.nan, 1, np.nan])


def test_a_score_of_rows_is_that_of_repeated_rows() -> None:
    y = RNG.integers(2, size=60)
    outputs = y + RNG.normal(size=60)
    score = by_rows(lambda outputs, targets: float(metrics.roc_auc_score(targets, outputs)))
    np.testing.assert_allclose(score(outputs, y, COUNTS), roc_auc(outputs, y, COUNTS), rtol=1e-12)
