"""What a backend is told of a mask: where its decisions come from, and which part of it a tensor is."""

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import torch

from thinned import philox

__all__ = ["WHOLE", "Address", "Form", "Region", "signed", "thresholds"]

_64_BITS = 0xFFFFFFFFFFFFFFFF


class Form(IntEnum):
    """What is computed of x, with K the keep threshold and q = K / 65,536; the numbers are those of csrc/dropout.h."""

    DROPOUT = 0  # kept: x / q               dropped: 0
    ADD = 1  # kept: residual + x / q        dropped: residual
    ALPHA = 2  # kept: a x + b               dropped: a α' + b
    ALPHA_BACKWARD = 3  # kept: a x          dropped: 0
    GAUSSIAN = 4  # x times a normal of mean 1 and variance (1 − q) / q; put together from the backend's normals

    @property
    def backward(self) -> "Form":
        """The form that maps a gradient of the output to one of x."""
        if self is Form.ADD:
            return Form.DROPOUT
        return Form.ALPHA_BACKWARD if self is Form.ALPHA else self


class Address(NamedTuple):
    """Key, call and keep threshold of a mask, or of one mask for each leading row of a tensor (members).

    ``key`` and ``keep`` are ints, or either is an int64 tensor of shape ``(members,)``; ``call`` is one int.
    ``keep`` counts the lane values, of 65,536, that keep an element.
    """

    key: int | torch.Tensor
    call: int
    keep: int | torch.Tensor

    @classmethod
    def of(cls, p: float | torch.Tensor, key: int | torch.Tensor, call: int) -> "Address":
        """The address with probability ``p`` of dropping; a tensor of keys or probabilities means members."""
        return cls(
            key if isinstance(key, torch.Tensor) else key & _64_BITS,
            call & _64_BITS,
            thresholds(p) if isinstance(p, torch.Tensor) else philox.threshold(p),
        )

    @property
    def batched(self) -> bool:
        """Whether there is an address for each member."""
        return isinstance(self.key, torch.Tensor) or isinstance(self.keep, torch.Tensor)

    def tensors(self, members: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and thresholds as int64 tensors of shape ``(members,)``."""
        key = self.key if isinstance(self.key, torch.Tensor) else torch.tensor(signed(self.key))
        return key.expand(members), torch.as_tensor(self.keep).expand(members)

    def split(self, members: int) -> list["Address"]:
        """The address of each member."""
        keys, keeps = self.tensors(members)
        return [Address(k & _64_BITS, self.call, t) for k, t in zip(keys.tolist(), keeps.tolist(), strict=True)]


class Region(NamedTuple):
    """Which element of a tensor is which index of the mask.

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


WHOLE = Region()


def signed(number: int) -> int:
    """The int64 with the bits of an unsigned 64-bit number."""
    number &= _64_BITS
    return number - (1 << 64) if number >> 63 else number


def thresholds(p: torch.Tensor) -> torch.Tensor:
    """:func:`thinned.philox.threshold` of each element, as int64."""
    kept = ((1.0 - p.double()) * 65536).round().to(torch.int64)
    return torch.where(p < 1, kept.clamp(min=1), kept)
