"""The activations that are fused with dropout."""

from enum import IntEnum

import torch
from torch.nn import functional as F

__all__ = ["Activation", "activated", "activation_backward"]


class Activation(IntEnum):
    """By the number that kernels know."""

    IDENTITY = 0
    RELU = 1
    GELU = 2
    GELU_TANH = 3
    SILU = 4


def activated(x: torch.Tensor, activation: Activation) -> torch.Tensor:
    """The activation of ``x`` by torch."""
    if activation is Activation.RELU:
        return F.relu(x)
    if activation in {Activation.GELU, Activation.GELU_TANH}:
        return F.gelu(x, approximate=_approximation(activation))
    return F.silu(x) if activation is Activation.SILU else x


def activation_backward(grad: torch.Tensor, x: torch.Tensor, activation: Activation) -> torch.Tensor:
    """The gradient of ``x`` from that of its activation, by torch."""
    operators = torch.ops.aten
    if activation is Activation.RELU:
        return operators.threshold_backward(grad, x, 0)  # type: ignore[no-any-return]
    if activation in {Activation.GELU, Activation.GELU_TANH}:
        return operators.gelu_backward(grad, x, approximate=_approximation(activation))  # type: ignore[no-any-return]
    return operators.silu_backward(grad, x) if activation is Activation.SILU else grad


def _approximation(activation: Activation) -> str:
    return "tanh" if activation is Activation.GELU_TANH else "none"
