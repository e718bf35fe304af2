"""The end of a residual branch in one pass."""

from typing import Literal

import torch

from thinned.errors import sentence
from thinned.functional.elementwise import check_residual, checked_rate
from thinned.kernels.activation import Activation, activated
from thinned.ops.branch import branch

__all__ = ["bias_dropout_add"]

ActivationName = Literal["identity", "relu", "gelu", "gelu_tanh", "silu"]


def bias_dropout_add(
    input: torch.Tensor,
    bias: torch.Tensor | None = None,
    residual: torch.Tensor | None = None,
    p: float | torch.Tensor = 0.5,
    training: bool = True,
    *,
    activation: ActivationName = "identity",
    key: int | torch.Tensor | None = None,
    call: int | torch.Tensor = 0,
    impl: str = "auto",
) -> torch.Tensor:
    """``residual + dropout(activation(input + bias))``: the end of a transformer's block, or of a layer.

    On a GPU with Triton it is one kernel forward and one backward, computed in float32 and rounded once; elsewhere it
    is these operations one after another. The masks are the same. The backward pass computes activation and mask again
    from ``input``, the only tensor of its size that is kept.

    Args:
        input: floating-point tensor ``(..., D)``, such as the product of a linear layer without its bias.
        bias: tensor ``(D,)``, or None.
        residual: tensor of the shape, dtype and device of ``input``, or None.
        p: probability of dropping, in [0, 1].
        training: False leaves dropout out.
        activation: ``"identity"``, ``"relu"``, ``"gelu"``, ``"gelu_tanh"`` (its approximation) or ``"silu"``.
        key: 64-bit key; None draws one.
        call: number of the training forward pass.
        impl: backend.

    Returns:
        A tensor like ``input``.

    Raises:
        ValueError: ``p`` lies outside [0, 1], ``activation`` is unknown, or ``bias`` is not ``(D,)``.
        RuntimeError: ``residual`` differs from ``input`` in shape, dtype or device.

    Example:
        >>> import torch, thinned
        >>> a = torch.tensor([[0.36, -0.13, 0.42, 0.25]])
        >>> thinned.functional.bias_dropout_add(a, torch.zeros(4), torch.ones(1, 4), activation="relu", key=20)
        tensor([[1.7200, 1.0000, 1.8400, 1.0000]])
    """
    p = checked_rate(p)
    try:
        kind = Activation[activation.upper()]
    except KeyError:
        names = ", ".join(kind.name.lower() for kind in Activation)
        raise ValueError(sentence(f"activation must be one of {names}", f"got {activation!r}")) from None
    if bias is not None and bias.shape != input.shape[-1:]:
        shapes = f"got bias of shape {tuple(bias.shape)} for input of shape {tuple(input.shape)}"
        raise ValueError(sentence("bias must have one number for each of the last axis", shapes))
    bias = None if bias is None else bias.to(input.dtype)
    if residual is not None:
        check_residual(input, residual)
    if not training:
        active = activated(input if bias is None else input + bias, kind)
        return active if residual is None else residual + active
    return branch(input, bias, residual, p, key, call, kind, impl)
