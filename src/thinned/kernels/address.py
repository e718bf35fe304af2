"""The address of a mask, and the part of the mask that a tensor is."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from thinned import philox

__all__ = ["WHOLE", "Address", "Region", "signed", "thresholds"]

_64_BITS = 0xFFFFFFFFFFFFFFFF


class Address(NamedTuple):
    """Key, call and keep threshold of a mask, or of one mask for each leading row of a tensor (members).

    ``key`` and ``keep`` are ints, or either is an int64 tensor of shape ``(members,)``; ``call`` is one int. The torch
    backend alone also takes 0-dim tensors for all three: on an accelerator it does not wait for their values. ``keep``
    counts the lane values, of 65,536, that keep an element.
    """

    key: int | torch.Tensor
    call: int | torch.Tensor
    keep: int | torch.Tensor

    @classmethod
    def from_rate(cls, p: float | torch.Tensor, key: int | torch.Tensor, call: int) -> "Address":
        """The address with probability ``p`` of dropping; a tensor of keys or probabilities means members."""
        return cls(
            key if isinstance(key, torch.Tensor) else key & _64_BITS,
            call & _64_BITS,
            thresholds(p) if isinstance(p, torch.Tensor) else philox.threshold(p),
        )

    @property
    def batched(self) -> bool:
        """True where each member has an address of its own."""
        return any(isinstance(value, torch.Tensor) and value.ndim > 0 for value in (self.key, self.keep))

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Key, call and threshold as int64 tensors, 0-dim or ``(members,)``."""
        key, call = (v if isinstance(v, torch.Tensor) else torch.tensor(signed(v)) for v in (self.key, self.call))
        return key, call, torch.as_tensor(self.keep)

    def split(self, members: int) -> list["Address"]:
        """The address of each member."""
        key, call, keep = self.tensors()
        pairs = zip(key.expand(members).tolist(), keep.expand(members).tolist(), strict=True)
        return [Address(k & _64_BITS, int(call) & _64_BITS, t) for k, t in pairs]


class Region(NamedTuple):
    """The map from the elements of a tensor to the indices of the mask.

    Args:
        shared: non-negative axes along which all elements share one decision.
        full: shape of the larger tensor that this one is a slice of; ``()`` where it is the whole.
        start: position of the slice in it.
    """

    shared: tuple[int, ...] = ()
    full: tuple[int, ...] = ()
    start: tuple[int, ...] = ()

    def strides(self, shape: Sequence[int]) -> tuple[list[int], int]:
        """The mask's index is ``offset + sum(position * stride)``: its strides, 0 where shared, and the offset."""
        sizes = self.full or tuple(shape)
        strides, offset, step = [0] * len(sizes), 0, 1
        for axis in reversed(range(len(sizes))):
            if axis not in self.shared:
                strides[axis] = step
                offset += step * self.start[axis] if self.full else 0
                step *= sizes[axis]
        return strides, offset

    def mask_shape(self, shape: Sequence[int]) -> list[int]:
        """The shape of the tensor's part of the mask: that of the tensor, but 1 along shared axes."""
        return [1 if axis in self.shared else size for axis, size in enumerate(shape)]


WHOLE = Region()


def signed(number: int) -> int:
    """The int64 with the bits of an unsigned 64-bit number."""
    number &= _64_BITS
    return number - (1 << 64) if number >> 63 else number


def thresholds(p: torch.Tensor) -> torch.Tensor:
    """:func:`thinned.philox.threshold` of each element, as int64."""
    kept = ((1.0 - p.double()) * 65536).round().to(torch.int64)
    return torch.where(p < 1, kept.clamp(min=1), kept)
