"""Stateless dropout."""

from collections.abc import Sequence

import torch

from thinned import masks, ops
from thinned._checks import check_p
from thinned.kernels._address import WHOLE, Region

__all__ = ["dropout"]


def dropout(
    x: torch.Tensor,
    p: float | torch.Tensor = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    shared: Sequence[int] = (),
    key: int | torch.Tensor | None = None,
    call: int | torch.Tensor = 0,
    impl: str = "auto",
) -> torch.Tensor:
    """Zero elements with probability ``p`` and scale the rest by 1 / (1 − p) (Srivastava et al. 2014).

    The mask is a pure function of ``(key, call, index)``: neither threads, nor memory layout, nor dtype change it. The
    rate is quantised to 1/65,536 and survivors are scaled by the inverse of the quantised keep probability, so that
    the expected value equals the input for every ``p``. No mask is kept for the backward pass.

    Args:
        x: floating-point tensor of any shape (f32, f64, bf16, f16), any strides.
        p: probability of dropping, in [0, 1]; 0 returns the values bit for bit, 1 returns zeros.
        training: False returns ``x`` itself.
        inplace: overwrite ``x``.
        shared: axes along which all elements share one decision.
        key: 64-bit key (int or 0-dim int64 tensor); None draws one from torch's default CPU generator.
        call: 64-bit number of the training forward pass.
        impl: ``"auto"``, ``"native"`` or ``"reference"``; a named backend never falls back to another.

    Returns:
        A tensor like ``x``.

    Raises:
        ValueError: ``p`` lies outside [0, 1], or ``impl`` is unknown.
        RuntimeError: ``x`` is not floating-point.

    Example:
        >>> import torch, thinned
        >>> a = torch.tensor([0.36, 0.13, 0.42, 0.25])
        >>> thinned.functional.dropout(a, p=0.5, key=20)
        tensor([0.7200, 0.0000, 0.8400, 0.0000])
    """
    if not isinstance(p, torch.Tensor):
        p = check_p(p)
    if not training:
        return x
    region = Region(masks.shared_axes(shared, x.ndim)) if shared else WHOLE
    return ops.apply(x, p, ops.draw_key() if key is None else key, call, region=region, impl=impl, inplace=inplace)
