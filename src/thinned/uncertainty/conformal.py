"""Prediction intervals for any model, by split conformal prediction.

A network of the user's own has no held-out residuals of its folds, which the CV+ intervals of a study's model need.
"""

import math
from typing import NamedTuple

import torch

from thinned.errors import InputError, sentence
from thinned.uncertainty.representation import short_repr

__all__ = ["Interval", "conformal_interval"]


class Interval(NamedTuple):
    """Lower and upper ends of prediction intervals, each ``(rows,)``."""

    low: torch.Tensor
    high: torch.Tensor

    def __repr__(self) -> str:
        """Shapes and dtypes."""
        return short_repr("Interval", self._asdict())


def conformal_interval(
    mean: torch.Tensor,
    calibration_mean: torch.Tensor,
    calibration_targets: torch.Tensor,
    coverage: float = 0.9,
    *,
    spread: torch.Tensor | None = None,
    calibration_spread: torch.Tensor | None = None,
) -> Interval:
    """Intervals that cover a new target with probability ``coverage`` or more (split conformal, Lei et al. 2018).

    That holds for any model, on average over rows, if the model was not trained on the calibration rows and new rows
    are exchangeable with them. With a spread, such as the square root of the total variance, intervals are wide where
    the model is unsure: residuals are divided by the spread.

    Args:
        mean: predictions for new rows, ``(rows,)``.
        calibration_mean: predictions for calibration rows, ``(n,)``.
        calibration_targets: true values of calibration rows, ``(n,)``.
        coverage: probability in (0, 1).
        spread: positive spread of new rows, ``(rows,)``.
        calibration_spread: positive spread of calibration rows, ``(n,)``.

    Raises:
        InputError: shapes differ, one spread is missing, or there are too few calibration rows for the coverage.
    """
    if not 0 < coverage < 1:
        raise InputError(sentence("coverage must lie strictly between 0 and 1", f"got coverage={coverage!r}"))
    if (spread is None) != (calibration_spread is None):
        raise InputError(sentence("spread and calibration_spread belong together", "got one of them", "give both"))
    pairs = ((calibration_targets, calibration_mean), (calibration_spread, calibration_mean), (spread, mean))
    for tensor, prediction in pairs:
        if tensor is not None and tensor.shape != prediction.shape:
            value = f"got {tuple(tensor.shape)} beside {tuple(prediction.shape)}"
            raise InputError(sentence("targets and spreads must have the shape of their predictions", value))
    for tensor in (spread, calibration_spread):
        if tensor is not None and not bool((tensor > 0).all()):
            raise InputError(sentence("spreads must be positive", f"got {float(tensor.min()):.4g}"))
    scores = (calibration_targets - calibration_mean).abs().flatten()
    if bool(scores.isnan().any()):
        raise InputError(sentence("calibration rows must have predictions and targets", "got NaN among them"))
    if calibration_spread is not None:
        scores = scores / calibration_spread.flatten()
    rank = math.ceil((len(scores) + 1) * coverage - 1e-9)  # a product that was rounded up must not raise the rank
    if rank > len(scores):
        least = math.ceil(coverage / (1 - coverage) - 1e-9)
        raise InputError(
            sentence(f"a coverage of {coverage} needs at least {least} calibration rows", f"got {len(scores)}")
        )
    half = scores.kthvalue(rank).values * (1.0 if spread is None else spread)
    return Interval(mean - half, mean + half)
