"""Uncertainty of an ensemble: its decomposition, its calibration, and conformal prediction intervals.

Binary classification is recognised by shape: ``(rows,)`` or ``(rows, 1)`` holds the probability, or logit, of the
positive class. Otherwise the last axis is the axis of classes. Targets are class numbers.
"""

from thinned.uncertainty.calibration import (
    Reliability,
    brier_score,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)
from thinned.uncertainty.conformal import Interval, conformal_interval
from thinned.uncertainty.decomposition import Split, split_entropy, split_variance

__all__ = [
    "Interval",
    "Reliability",
    "Split",
    "brier_score",
    "conformal_interval",
    "expected_calibration_error",
    "fit_temperature",
    "negative_log_likelihood",
    "reliability",
    "split_entropy",
    "split_variance",
]
