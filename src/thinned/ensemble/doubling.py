"""All 2^n sums of a last hidden layer, built by doubling instead of by 2^n forward passes.

With a linear layer behind the dropout, the output of sub-network m is b + Σ m_i c_i with c_i = w_i h_i / (1 − p). One
unit more doubles the table of sums; the units that don't fit into a chunk are walked through as a binary tree, whose
leaves are added to the table.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch

__all__ = ["Additive"]


class Additive(NamedTuple):
    """The sums of an additive head.

    Attributes:
        base: ``(rows, outputs)``, float64: the bias.
        parts: ``(units, rows, outputs)``, float64: what each unit adds when it is kept.
        dtype: of the sums.
    """

    base: torch.Tensor
    parts: torch.Tensor
    dtype: torch.dtype

    @classmethod
    def of(cls, head: torch.nn.Linear, hidden: torch.Tensor, p: float) -> "Additive":
        """From the layer behind the dropout and the ``(rows, units)`` that are dropped."""
        scaled = hidden.double() / (1 - p) if p < 1 else torch.zeros_like(hidden, dtype=torch.float64)
        parts = scaled.T.unsqueeze(2) * head.weight.double().T.unsqueeze(1)
        base = parts.new_zeros(parts.shape[1:])
        return cls(base if head.bias is None else base + head.bias.double(), parts, hidden.dtype)

    def chunks(self, values: int) -> Iterator[torch.Tensor]:
        """Sums ``(sub-networks, rows, outputs)``, in order of the sub-networks' numbers.

        Bit i of a number is whether unit i is kept.

        Args:
            values: that a chunk may hold.
        """
        units, low = len(self.parts), 0
        while low < units and (2 << low) * self.base.numel() <= values:
            low += 1
        table = _table(self.parts[:low], torch.zeros_like(self.base)).to(self.dtype)
        for offset in _walk(self.base, list(self.parts[low:])):
            yield table + offset.to(self.dtype)

    def quantile(self, q: float, p: float) -> torch.Tensor:
        """The smallest sum that sub-networks of total probability ``q`` or more do not exceed, ``(rows, outputs)``.

        The units are cut into two halves. For a bound t, each sum of the upper half leaves t minus itself for the lower
        half, whose sorted sums and cumulative probabilities say how much lies below: 2^(n/2) look-ups instead of 2^n
        sums. t is found by bisection, to the last bit of float64 that matters.
        """
        half = len(self.parts) // 2
        low, upper = (
            _table(part, base).flatten(1).T.contiguous()
            for part, base in ((self.parts[:half], self.base), (self.parts[half:], torch.zeros_like(self.base)))
        )
        low, order = low.sort(dim=1)
        below = torch.nn.functional.pad(probabilities(half, p)[order].cumsum(1), (1, 0))
        weights = probabilities(len(self.parts) - half, p)
        smallest = low[:, 0] + upper.amin(1)
        largest = low[:, -1] + upper.amax(1)
        for _ in range(64):
            middle = (smallest + largest) / 2
            found = torch.searchsorted(low, middle[:, None] - upper, right=True)
            share = (below.gather(1, found) * weights).sum(1)
            enough = share >= q - 1e-12
            largest = torch.where(enough, middle, largest)
            smallest = torch.where(enough, smallest, middle)
        return largest.reshape(self.base.shape).to(self.dtype)


def probabilities(units: int, p: float) -> torch.Tensor:
    """Of the 2^units sub-networks: p^dropped (1 − p)^kept, float64, in order of their numbers."""
    out = torch.ones(1, dtype=torch.float64)
    for _ in range(units):
        out = torch.cat([out * p, out * (1 - p)])
    return out


def _table(parts: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    table = base.unsqueeze(0)
    for part in parts:
        table = torch.cat([table, table + part])
    return table


def _walk(base: torch.Tensor, parts: list[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Sums of all subsets of ``parts``, the last one's bit the highest; as many tensors alive as parts."""
    if not parts:
        yield base
        return
    yield from _walk(base, parts[:-1])
    yield from _walk(base + parts[-1], parts[:-1])
