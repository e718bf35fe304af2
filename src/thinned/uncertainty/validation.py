"""Checks of probabilities, which rounding may push a little out of their range."""

import torch

from thinned.errors import InputError, sentence

__all__ = ["checked_probabilities"]

#: An average of n float32 probabilities exceeds 1 by at most n · 2^-24.
_RANGE_TOLERANCE = 2**-10
#: Each probability of a softmax in bfloat16 is off by at most 2^-9 of itself, and so is their sum.
_SUM_TOLERANCE = 2**-8


def checked_probabilities(probabilities: torch.Tensor) -> torch.Tensor:
    """Check that probabilities are such, and clamp what rounding pushed out of [0, 1].

    Args:
        probabilities: ``(..., classes)``; one column is the probability of the positive class.

    Raises:
        InputError: a value lies outside [0, 1], or the classes of a row do not sum to 1.
    """
    if not bool(((probabilities >= -_RANGE_TOLERANCE) & (probabilities <= 1 + _RANGE_TOLERANCE)).all()):
        value = f"got values from {float(probabilities.min()):.4g} to {float(probabilities.max()):.4g}"
        raise InputError(sentence("probabilities must lie in [0, 1]", value, "pass logits through softmax"))
    if probabilities.shape[-1] > 1:
        sums = probabilities.double().sum(-1)
        if not bool(((sums - 1).abs() <= _SUM_TOLERANCE).all()):
            raise InputError(
                sentence(
                    "the probabilities of all classes, on the last axis, must sum to 1",
                    f"got sums from {float(sums.min()):.4g} to {float(sums.max()):.4g}",
                    "move the axis of classes to the end, or pass independent labels one at a time",
                )
            )
    return probabilities.clamp(0, 1)
