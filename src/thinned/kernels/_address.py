"""What a backend is told of a mask."""

from typing import NamedTuple

import torch

from thinned import philox

__all__ = ["Address", "thresholds"]

_64_BITS = 0xFFFFFFFFFFFFFFFF


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
        """Keys and thresholds as contiguous int64 tensors of shape ``(members,)``."""
        key = self.key if isinstance(self.key, torch.Tensor) else torch.tensor(_signed(self.key))
        return tuple(torch.as_tensor(v).expand(members).contiguous() for v in (key, self.keep))  # type: ignore[return-value]

    def split(self, members: int) -> list["Address"]:
        """The address of each member."""
        keys, keeps = self.tensors(members)
        return [
            Address(k & _64_BITS, self.call, t) for k, t in zip(keys.tolist(), keeps.tolist(), strict=True)
        ]


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def thresholds(p: torch.Tensor) -> torch.Tensor:
    """:func:`thinned.philox.threshold` of each element, as int64."""
    kept = ((1.0 - p.double()) * 65536).round().to(torch.int64)
    return torch.where(p < 1, kept.clamp(min=1), kept)
