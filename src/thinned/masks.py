"""Mask shapes and keep decisions as torch tensors."""

from collections.abc import Sequence

import torch

from thinned import philox
from thinned._checks import check_p, sentence

__all__ = ["keep_mask", "mask_index", "shared_axes"]


def shared_axes(shared: Sequence[int], ndim: int) -> tuple[int, ...]:
    """Sorted, non-negative axes that share a decision.

    Raises:
        IndexError: an axis does not exist.
        ValueError: an axis is named twice.
    """
    for axis in shared:
        if not -ndim <= axis < ndim:
            raise IndexError(sentence(f"shared axes must lie in [{-ndim}, {ndim - 1}]", f"got {axis}"))
    axes = sorted(axis % ndim for axis in shared)
    if len(set(axes)) < len(axes):
        raise ValueError(sentence("shared axes must differ from each other", f"got shared={tuple(shared)}"))
    return tuple(axes)


def mask_index(shape: Sequence[int], shared: Sequence[int] = ()) -> torch.Tensor:
    """The mask's row-major index of each element of a tensor; elements that share a decision have the same one.

    Returns:
        int64 of ``shape``.
    """
    axes = shared_axes(shared, len(shape))
    small = torch.Size(1 if axis in axes else size for axis, size in enumerate(shape))
    return torch.arange(small.numel()).reshape(small).expand(*shape)


def keep_mask(shape: Sequence[int], p: float, key: int, call: int = 0, *, shared: Sequence[int] = ()) -> torch.Tensor:
    """The keep decisions that ``functional.dropout`` takes at an address.

    Args:
        shape: of the tensor that is dropped.
        p: probability of dropping, in [0, 1].
        key: 64-bit key.
        call: 64-bit number of the training forward pass.
        shared: axes that share one decision.

    Returns:
        A bool tensor of ``shape``, True where the element survives.

    Raises:
        ValueError: ``p`` lies outside [0, 1].
        IndexError: a shared axis does not exist.
    """
    return torch.from_numpy(philox.keep(mask_index(shape, shared).numpy(), check_p(p), key, call))
