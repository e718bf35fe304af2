"""What a mask keeps, as indices: to gather it, compute on it alone, and add the result where it belongs."""

from typing import NamedTuple

import torch

from thinned.ops import Decider, torch_private

__all__ = ["Selection", "can_select", "select", "thinned_linear"]


class Selection(NamedTuple):
    """The kept places of a mask.

    Attributes:
        places: ``(kept,)``, int64, ascending.
        scales: ``(kept,)``, float: the factor of each.
    """

    places: torch.Tensor
    scales: torch.Tensor


def can_select(*numbers: object) -> bool:
    """Tell that what is kept can be left to itself: its size is known, and there is one mask.

    Args:
        numbers: rate and key; members have several of them, which keep other places each.
    """
    several = any(
        isinstance(value, Decider) or (isinstance(value, torch.Tensor) and value.ndim > 0) for value in numbers
    )
    transformed = torch_private.functorch_active() and not torch.compiler.is_compiling()
    return not (several or transformed or torch_private.exporting() or torch_private.tracing())


def select(factors: torch.Tensor, device: torch.device) -> Selection:
    """The places whose factor is not 0.

    Args:
        factors: ``(n,)``; best on the CPU, where nobody waits for a device to know their number.
        device: of the result.
    """
    index = factors.nonzero().flatten()
    if torch.compiler.is_compiling() and not torch_private.captures_sizes():
        torch_private.break_graph()  # what follows depends on the number of places
    scales = factors[index]
    if device.type == "cuda" and not index.is_cuda and not torch.compiler.is_compiling():
        index, scales = index.pin_memory(), scales.pin_memory()  # a copy of other memory waits for the device
    return Selection(index.to(device, non_blocking=True), scales.to(device, non_blocking=True))


def thinned_linear(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    kept_out: torch.Tensor | None = None,
    kept_in: torch.Tensor | None = None,
) -> torch.Tensor:
    """``linear`` of one sub-network: only its rows and columns are multiplied, forward and backward.

    The gradients of the weight and the bias are dense, as the parameters are, and exact zeros for what is not kept.

    Args:
        input: ``(..., in)``: the kept units of the layer before.
        weight: ``(out_features, in_features)``, whole.
        bias: ``(out_features,)``, whole.
        kept_out: ``(out,)``, int64: the units to compute; None for all.
        kept_in: ``(in,)``, int64: the units that ``input`` holds; None for all.

    Returns:
        ``(..., out)``.

    Example:
        >>> import torch, thinned
        >>> weight = torch.arange(6.0).view(2, 3)
        >>> thinned.functional.thinned_linear(torch.ones(1, 2), weight, kept_in=torch.tensor([0, 2]))
        tensor([[2., 8.]])
    """
    if kept_out is not None:  # rows first: they are contiguous, and leave fewer columns to gather
        weight = weight.index_select(0, kept_out)
        bias = None if bias is None else bias.index_select(0, kept_out)
    if kept_in is not None:
        weight = weight.index_select(1, kept_in)
    return torch.nn.functional.linear(input, weight, bias)
