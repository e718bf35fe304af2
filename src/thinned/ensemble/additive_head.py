"""All 2^n outputs of a linear layer behind a dropout, built by doubling a table of sums.

With a linear layer behind the dropout, the output of sub-network m is b + Σ m_i c_i with c_i = w_i h_i / (1 − p). Each
further unit doubles the table of sums, instead of 2^n forward passes. Units that do not fit into a chunk span a binary
tree, whose leaves are added to the table.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn

from thinned.ensemble.forward import ForwardPasses
from thinned.ensemble.mask_sources import NoMask
from thinned.kernels.form import Form

__all__ = ["AdditiveHead", "SubsetSums", "subset_probabilities"]


class SubsetSums(NamedTuple):
    """The sums of all subsets of units.

    Attributes:
        bias: ``(rows, outputs)``, float64.
        contributions: ``(units, rows, outputs)``, float64: the part of the sum that each kept unit adds.
        dtype: dtype of the sums.
    """

    bias: torch.Tensor
    contributions: torch.Tensor
    dtype: torch.dtype

    @classmethod
    def from_layer(cls, layer: nn.Linear, hidden: torch.Tensor, p: float) -> "SubsetSums":
        """From the layer behind the dropout and its ``(rows, units)`` input before the dropout."""
        scaled = hidden.double() / (1 - p) if p < 1 else torch.zeros_like(hidden, dtype=torch.float64)
        contributions = scaled.T.unsqueeze(2) * layer.weight.detach().double().T.unsqueeze(1)
        zero = contributions.new_zeros(contributions.shape[1:])
        bias: torch.Tensor | None = layer.bias  # torch's annotation leaves out that there may be none
        return cls(zero if bias is None else zero + bias.detach().double(), contributions, hidden.dtype)

    def chunks(self, values: int) -> Iterator[torch.Tensor]:
        """Sums ``(sub-networks, rows, outputs)``, in order of the sub-networks' numbers.

        Bit i of a number is 1 where unit i is kept.

        Args:
            values: number of values that a chunk may hold.
        """
        units, low = len(self.contributions), 0
        while low < units and (2 << low) * self.bias.numel() <= values:
            low += 1
        table = _subset_table(self.contributions[:low], torch.zeros_like(self.bias)).to(self.dtype)
        for offset in _subset_sums(self.bias, list(self.contributions[low:])):
            yield table + offset.to(self.dtype)

    def quantile(self, q: float, p: float) -> torch.Tensor:
        """The smallest sum that sub-networks of total probability ``q`` or more do not exceed, ``(rows, outputs)``.

        Units are cut into two halves. For a bound t, each sum of the upper half leaves t minus itself for the lower
        half, whose sorted sums and cumulative probabilities give the probability below: 2^(n/2) look-ups instead of 2^n
        sums. t is bisected to the last significant bit of float64.
        """
        half = len(self.contributions) // 2
        halves = (self.contributions[:half], self.bias), (self.contributions[half:], torch.zeros_like(self.bias))
        low, upper = (_subset_table(part, bias).flatten(1).T.contiguous() for part, bias in halves)
        low, order = low.sort(dim=1)
        below = torch.nn.functional.pad(subset_probabilities(half, p)[order].cumsum(1), (1, 0))
        weights = subset_probabilities(len(self.contributions) - half, p)
        smallest = low[:, 0] + upper.amin(1)
        largest = low[:, -1] + upper.amax(1)
        for _ in range(64):
            middle = (smallest + largest) / 2
            counts = torch.searchsorted(low, middle[:, None] - upper, right=True)
            probability = (below.gather(1, counts) * weights).sum(1)
            enough = probability >= q - 1e-12
            largest = torch.where(enough, middle, largest)
            smallest = torch.where(enough, smallest, middle)
        return largest.reshape(self.bias.shape).to(self.dtype)


def subset_probabilities(units: int, p: float) -> torch.Tensor:
    """Probabilities p^dropped (1 − p)^kept of the 2^units sub-networks: float64, in order of their numbers."""
    out = torch.ones(1, dtype=torch.float64)
    for _ in range(units):
        out = torch.cat([out * p, out * (1 - p)])
    return out


def _subset_table(contributions: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    table = bias.unsqueeze(0)
    for contribution in contributions:
        table = torch.cat([table, table + contribution])
    return table


def _subset_sums(bias: torch.Tensor, contributions: list[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Sums of all subsets, the last one's bit the highest; at most one tensor for each contribution is alive."""
    if not contributions:
        yield bias
        return
    yield from _subset_sums(bias, contributions[:-1])
    yield from _subset_sums(bias + contributions[-1], contributions[:-1])


class _LayerCall(NamedTuple):
    """A call of the linear layer; ``version`` is that of the output, which a later in-place operation raises."""

    input: object
    output: torch.Tensor
    version: int


class AdditiveHead:
    """The linear layer that alone takes the dropped tensor of the only chosen site, if there is such a layer.

    Its calls are recorded in the weight-scaled pass; then sums take the place of its output.

    Args:
        passes: passes of the model.
    """

    def __init__(self, passes: ForwardPasses) -> None:
        self._passes = passes
        self._layer: nn.Linear | None = None
        self._calls: list[_LayerCall] = []
        self._recording = False
        self._output: torch.Tensor | None = None
        [site, *others] = passes.sites
        if not others and len(site.consumers) == 1 and site.consumers[0].name == "Linear":
            module = passes.module(site.consumers[0].module)
            self._layer = module if type(module) is nn.Linear else None
        self._handle = None if self._layer is None else self._layer.register_forward_hook(self._hook)

    def close(self) -> None:
        """Let go of the layer, which would otherwise keep the tensors of the pass alive until a garbage collection."""
        if self._handle is not None:
            self._handle.remove()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record the calls of the layer."""
        self._recording = True
        try:
            yield
        finally:
            self._recording = False

    def _hook(self, _: nn.Module, args: tuple[object, ...], output: torch.Tensor) -> torch.Tensor | None:
        if self._recording:
            self._calls.append(_LayerCall(args[0] if args else None, output, output._version))
        return self._output

    def sums(self, sources: Mapping[str, NoMask]) -> SubsetSums | None:
        """The layer's sums; None where the layer is not called once, or its units are not shared by all examples.

        Args:
            sources: mask sources of the recorded pass.
        """
        [source] = sources.values() if len(sources) == 1 else [None]
        if self._layer is None or source is None or len(self._calls) != 1:
            return None
        shared = len(source.mask_shape) == 2 and source.mask_shape[0] == 1
        if source.dropped is None or self._calls[0].input is not source.dropped or not shared:
            return None
        return SubsetSums.from_layer(self._layer, source.dropped, source.p) if source.form is Form.DROPOUT else None

    def is_last(self, output: torch.Tensor) -> bool:
        """Tell whether the model's output is that of the layer, or a view of it."""
        _, own, version = self._calls[0]
        same = output.untyped_storage().data_ptr() == own.untyped_storage().data_ptr()
        return same and output.numel() == own.numel() and own._version == version

    def outputs_behind(self, chunks: Iterable[torch.Tensor], shape: torch.Size) -> Iterator[torch.Tensor]:
        """The model's outputs, each of ``shape``, for the layer's outputs; the layers behind run as they are."""
        no_masks = self._passes.no_masks()

        def run(output: torch.Tensor) -> torch.Tensor:
            self._output = output
            try:
                return self._passes.run(no_masks)
            finally:
                self._output = None

        for chunk in chunks:
            layer_outputs = chunk.reshape(-1, *self._calls[0].output.shape)
            yield self._passes.map_members(run, layer_outputs).reshape(-1, *shape)
