"""The forms of dropout: the arithmetic on a tensor and its mask, and its constants."""

import math
from enum import IntEnum
from typing import NamedTuple

__all__ = ["SELU_SATURATION", "Affine", "Form", "affine"]

SELU_SATURATION = -1.7580993408473766  # −λα: the limit of SELU at minus infinity (Klambauer et al. 2017)


class Form(IntEnum):
    """The result for an element x, with K the keep threshold and q = K / 65,536.

    The numbers up to ``ALPHA_BACKWARD`` are those of csrc/dropout.h. ``GAUSSIAN`` takes normals from a backend instead
    of decisions; :mod:`thinned.ops.backends` multiplies.
    """

    DROPOUT = 0  # kept: x / q               dropped: 0
    ADD = 1  # kept: residual + x / q        dropped: residual
    ALPHA = 2  # kept: a x + b               dropped: a α' + b
    ALPHA_BACKWARD = 3  # kept: a x          dropped: 0
    GAUSSIAN = 4  # x times a normal of mean 1 and variance (1 − q) / q

    @property
    def backward(self) -> "Form":
        """The form that maps a gradient of the output to one of x."""
        if self is Form.ADD:
            return Form.DROPOUT
        return Form.ALPHA_BACKWARD if self is Form.ALPHA else self


class Affine(NamedTuple):
    """Kept: ``x * scale + shift``; dropped: the constant ``dropped``."""

    scale: float
    shift: float
    dropped: float


def affine(form: Form, keep: int) -> Affine:
    """The specification of a form's numbers at a keep threshold; IEEE 754 fixes every operation."""
    if form in {Form.DROPOUT, Form.ADD}:
        return Affine(65536 / keep if keep else 0.0, 0.0, 0.0)
    if not keep:  # p = 1 gives zeros, as PyTorch's alpha dropout does
        return Affine(0.0, 0.0, 0.0)
    q = keep / 65536
    p = 1 - q
    a = 1 / math.sqrt(q * (1 + p * (SELU_SATURATION * SELU_SATURATION)))
    if form is Form.ALPHA_BACKWARD:
        return Affine(a, 0.0, 0.0)
    b = -(a * SELU_SATURATION) * p
    return Affine(a, b, a * SELU_SATURATION + b)
