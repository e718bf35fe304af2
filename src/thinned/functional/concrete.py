"""Dropout relaxed so that its rate can be learned."""

import math
from collections.abc import Sequence

import torch

from thinned import masks
from thinned.kernels import aten
from thinned.kernels.address import Region, signed
from thinned.ops import dispatch

__all__ = ["concrete_dropout"]


def concrete_dropout(
    input: torch.Tensor,
    p: float | torch.Tensor,
    training: bool = True,
    temperature: float = 0.1,
    *,
    shared: Sequence[int] = (),
    key: int | torch.Tensor | None = None,
    call: int | torch.Tensor = 0,
) -> torch.Tensor:
    """Dropout relaxed so that its rate can be learned (Gal, Hron & Kendall 2017, equation 5).

    The mask is 1 − sigmoid((logit p + logit u) / temperature), u being the 16 random bits that dropout would compare
    with its threshold: a decision made soft, at the same address. It is differentiable in ``p``; as the temperature
    goes to 0, it is :func:`dropout`. The random bits are the same everywhere; the last bits of the soft mask depend on
    the machine's logarithm.

    Args:
        input: floating-point tensor of any shape.
        p: probability of dropping, strictly between 0 and 1; usually a tensor that requires a gradient.
        training: False returns ``input`` itself.
        temperature: scale of the relaxed Bernoulli; the mask hardens as it goes to 0.
        shared: axes that share a decision.
        key: 64-bit key; None draws one.
        call: number of the training forward pass.
    """
    if not training:
        return input
    wide = input.dtype if input.dtype.itemsize > 2 else torch.float32
    axes = masks.shared_axes(shared, input.ndim)
    small = Region(axes).mask_shape(input.shape)
    drawn = dispatch.draw_key(input) if key is None else key
    drawn, call = (v if isinstance(v, torch.Tensor) else torch.tensor(signed(v)) for v in (drawn, call))
    lanes = aten.lanes(math.prod(small), drawn, call).reshape(small).to(input.device)
    logit_u = torch.logit((65535.5 - lanes.to(torch.float64)) / 65536).to(wide)  # high bits are those that drop
    p = torch.as_tensor(p, device=input.device).to(wide)
    dropped = torch.sigmoid((torch.logit(p) - logit_u) / temperature)
    return (input * ((1 - dropped) / (1 - p))).to(input.dtype)
