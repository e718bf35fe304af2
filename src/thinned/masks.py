"""Mask shapes and keep decisions as torch tensors."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from thinned import philox
from thinned.errors import check_p, sentence
from thinned.kernels import aten, native
from thinned.kernels.address import Region

__all__ = ["keep_mask", "mask_index", "shared_axes"]


def shared_axes(shared: Sequence[int], ndim: int) -> tuple[int, ...]:
    """Sort the axes that share a decision, and make them non-negative.

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

    Args:
        shape: shape of the tensor.
        shared: axes that share one decision.

    Returns:
        int64 of ``shape``.

    Raises:
        IndexError: a shared axis does not exist.
    """
    region = Region(shared_axes(shared, len(shape)))
    return aten.index_of(tuple(shape), region, torch.device("cpu")).expand(*shape)


def keep_mask(
    shape: Sequence[int],
    p: float,
    key: int,
    call: int = 0,
    *,
    shared: Sequence[int] = (),
    packed: bool = False,
) -> torch.Tensor:
    """The keep decisions of ``functional.dropout`` at an address.

    Args:
        shape: shape of the tensor that is dropped.
        p: probability of dropping, in [0, 1].
        key: 64-bit key.
        call: 64-bit number of the training forward pass.
        shared: axes that share one decision.
        packed: one bit an element instead of one byte: element i in row-major order is bit ``i & 7`` of byte ``i >> 3``
            (NumPy's ``bitorder="little"``).

    Returns:
        A bool tensor of ``shape``, True where the element survives; packed, a uint8 tensor of
        ``(ceil(elements / 8),)``, its last byte filled up with zeros.

    Raises:
        ValueError: ``p`` lies outside [0, 1].
        IndexError: a shared axis does not exist.

    Example:
        >>> import thinned
        >>> thinned.masks.keep_mask((4,), p=0.5, key=20)
        tensor([ True, False,  True, False])
        >>> thinned.masks.keep_mask((4,), p=0.5, key=20, packed=True)
        tensor([5], dtype=torch.uint8)
    """
    keep = philox.threshold(check_p(p))
    key, call = key & 0xFFFFFFFFFFFFFFFF, call & 0xFFFFFFFFFFFFFFFF
    axes = shared_axes(shared, len(shape))
    small = Region(axes).mask_shape(shape)
    if packed and not axes:
        return native.keep_mask(math.prod(small), key, call, keep, packed=True)
    mask = native.keep_mask(math.prod(small), key, call, keep).reshape(small).expand(*shape).contiguous()
    return torch.from_numpy(np.packbits(mask.numpy(), bitorder="little")) if packed else mask
