"""Whether a block computes what its adapter says, on numbers."""

import copy

import torch
from torch import nn

from thinned.conversion.skipping.adapters import Adapter
from thinned.conversion.skipping.block_class import drops, skip
from thinned.layers import DropPath

__all__ = ["difference"]

_ROWS = 4
_KEYS = range(3)  # of masks that keep some of 4 samples


def difference(block: nn.Module, adapter: Adapter, x: torch.Tensor) -> str:
    """Why the two forms of a block differ, "" where they agree: in float64, at the same addresses.

    Args:
        block: a block of the adapter's class, which stays as it is.
        adapter: of its class.
        x: its input.
    """
    own, skipping = (_prepared(block, adapter) for _ in range(2))
    skip(skipping)
    x = torch.cat([x] * _ROWS)[:_ROWS].double()
    x = x + torch.linspace(0, 0.1, _ROWS, dtype=x.dtype, device=x.device).view(-1, *(1,) * (x.ndim - 1))
    for key in _KEYS:
        for copied in (own, skipping):
            for drop in drops(copied, adapter):
                drop.key = torch.tensor(key)
        with torch.no_grad():
            try:
                expected, result = own(x), skipping(x)
            except (RuntimeError, TypeError, AttributeError, ValueError, IndexError) as error:
                return f"it does not run on its input alone: {type(error).__name__}"
        if not isinstance(expected, torch.Tensor) or not isinstance(result, torch.Tensor):
            return "it returns more than a tensor"
        if not torch.allclose(result, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max())):
            return f"this version of {adapter.class_name} computes something else than the adapter"
    return ""


def _prepared(block: nn.Module, adapter: Adapter) -> nn.Module:
    """A copy of a block in float64 whose drop paths are ours and train; all else is in evaluation."""
    copied = copy.deepcopy(block).double().eval()
    for branch in adapter.branches:
        if not isinstance(getattr(copied, branch.drop), nn.Identity):
            setattr(copied, branch.drop, DropPath(0.5))
    copied.training = True
    return copied
