"""Every sub-network of a model: masks, probabilities, outputs and their moments."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from thinned.ensemble.additive_head import AdditiveHead, SubsetSums, subset_probabilities
from thinned.ensemble.forward import ForwardPasses, Select
from thinned.ensemble.mask_sources import FixedMask, NoMask
from thinned.ensemble.predictions import Kind, Moments, Predictor
from thinned.errors import InputError, sentence
from thinned.kernels.form import Form
from thinned.uncertainty.representation import ShortRepr

__all__ = ["Enumeration", "TooManyError", "enumerate"]

_CHUNK = 1 << 22  # values in a chunk: 16 MB of float32
_KEPT = 1 << 24  # largest number of values of all outputs that are kept: 64 MB
_LIMIT_BY_PASSES = 1 << 16  # sub-networks that are run, unless the caller raises the limit
_LIMIT_BY_DOUBLING = 1 << 24  # sub-networks that are summed
_MOST_UNITS = 40  # memory holds no more probabilities and numbers, whatever the caller's limit is


class TooManyError(InputError):
    """There are more sub-networks than can be enumerated."""


@dataclass(frozen=True, repr=False)
class Enumeration(ShortRepr):
    """All sub-networks of the chosen sites, numbered: bit i of a number is 1 where unit i is kept.

    Units are numbered through the sites in their order, row-major within a site.

    Attributes:
        shapes: shape of the mask by the name of the site; 1 along axes that share a decision, as examples do.
        rates: p by the name of the site.
        by: "doubling" where the sums of an additive head were built, "passes" where each sub-network was run.
        mean: prediction of the ensemble: mean over the sub-networks, weighted by their probability.
        geometric_mean: normalised geometric mean of probabilities; None for values.
        weight_scaled: prediction of the single pass without dropout.
        std: standard deviation over the sub-networks.
        minimum: smallest prediction of a sub-network.
        maximum: largest prediction of a sub-network.
        outputs: ``(2^n, ...)``, the model's output for each sub-network, or None where that is more than 2^24 values.
    """

    shapes: dict[str, tuple[int, ...]]
    rates: dict[str, float]
    by: str
    mean: torch.Tensor
    geometric_mean: torch.Tensor | None
    weight_scaled: torch.Tensor
    std: torch.Tensor
    minimum: torch.Tensor
    maximum: torch.Tensor
    outputs: torch.Tensor | None
    _predictor: Predictor = field(repr=False)
    _sums: SubsetSums | None = field(repr=False)

    @property
    def units(self) -> int:
        """Number of decisions, n."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def count(self) -> int:
        """Number of sub-networks, 2^n."""
        return 1 << self.units

    @property
    def probabilities(self) -> torch.Tensor:
        """Probability p^dropped (1 − p)^kept of each sub-network over all sites: float64 ``(2^n,)``."""
        return _probabilities(self.shapes, self.rates)

    def masks(self, first: int = 0, last: int | None = None) -> dict[str, torch.Tensor]:
        """The masks of sub-networks ``first`` to ``last`` − 1 (None is all), by site: bool ``(networks, *shape)``."""
        return _masks(self.shapes, torch.arange(first, self.count if last is None else last))

    def quantile(self, q: float) -> torch.Tensor:
        """The smallest prediction that sub-networks of total probability ``q`` or more do not exceed.

        Raises:
            InputError: ``q`` lies outside [0, 1], or outputs were not kept and the model's output is not the sum of an
                additive head, by itself or through the logistic function.
        """
        if not 0 <= q <= 1:
            raise InputError(sentence("q must lie in [0, 1]", f"got q={q!r}"))
        if self.outputs is not None:
            values, order = self._predictor(self.outputs).sort(dim=0)
            cumulative = self.probabilities.to(values.device)[order].cumsum(0)
            index = (cumulative < q - 1e-12).sum(0, keepdim=True).clamp(max=self.count - 1)
            return values.gather(0, index)[0]
        if self._sums is None or (self._predictor.kind == "logits" and self._predictor.columns > 1):
            raise InputError(
                sentence(
                    "quantiles need outputs that were kept, or a head whose sums are the output",
                    f"got {self.count:,} sub-networks of {tuple(self.mean.shape)}",
                    "pass fewer rows at a time",
                )
            )
        [p] = self.rates.values()
        return self._predictor(self._sums.quantile(q, p)).reshape(self.mean.shape)


def enumerate(  # noqa: A001 - the field's word, and ensemble.enumerate reads well
    model: nn.Module,
    x: object,
    *,
    output: Kind = "values",
    sites: Sequence[str] | None = None,
    select: Select = None,
    batch_axis: int | None = None,
    limit: int | None = None,
) -> Enumeration:
    """Run every sub-network of the chosen sites, each weighted by its probability.

    All examples share a decision, so that a sub-network is one network. A site with n units has 2^n of them. Survivors
    are scaled by 1 / (1 − p), with p as given and not quantised. The model is only read: a copy of its modules runs in
    evaluation, with the chosen sites active.

    For one site of ``(rows, n)`` whose only consumer is a linear layer, the 2^n outputs of that layer are built by
    doubling a table of sums, and only the layers behind it run for each. Memory is bounded by chunks.

    Args:
        model: any module.
        x: a tensor; a tuple of arguments; or a mapping of keyword arguments.
        output: kind of the model's output: "values", "logits" or "probabilities". Logits become probabilities
            (logistic for one column, softmax over the last axis for more) before they are averaged.
        sites: names of the sites that drop, as :func:`thinned.sites.find` gives them; None chooses all.
        select: function that takes one tensor out of the output; by default its ``logits``.
        batch_axis: axis of examples of ``x``; None is 0, or 1 for recurrent and attention modules that are not
            ``batch_first``.
        limit: largest number of sub-networks; None is 2^24 by doubling and 2^16 otherwise.

    Raises:
        TooManyError: there are more sub-networks than ``limit``.
        InputError: there is no site, a site has Gaussian noise, or the output is not of its kind.

    Example:
        >>> import torch, thinned
        >>> model = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(2, 1, bias=False))
        >>> model[1].weight.data = torch.tensor([[1.0, 2.0]])
        >>> every = thinned.ensemble.enumerate(model, torch.ones(1, 2))
        >>> every.outputs.flatten(), every.mean, every.weight_scaled
        (tensor([0., 2., 4., 6.]), tensor([[3.]]), tensor([[3.]]))
    """
    passes = ForwardPasses(model, x, sites, select, batch_axis)
    with contextlib.closing(AdditiveHead(passes)) as head:
        return _enumerate(passes, head, output, limit)


def _enumerate(passes: ForwardPasses, head: AdditiveHead, output: Kind, limit: int | None) -> Enumeration:
    no_masks = passes.no_masks()
    with head.recording():
        scaled = passes.run(no_masks)
    _check_decisions(no_masks)
    shapes = {name: source.mask_shape for name, source in no_masks.items()}
    sums = head.sums(no_masks) if sum(map(math.prod, shapes.values())) <= _MOST_UNITS else None
    _check_count(shapes, limit, _LIMIT_BY_PASSES if sums is None else _LIMIT_BY_DOUBLING)
    predictor = Predictor.for_output(output, scaled, classes_may_be_first=passes.classes_may_be_first)
    rates = {name: source.p for name, source in no_masks.items()}
    return _summarise(_SubnetworkOutputs(passes, head, sums, shapes, scaled), predictor, rates)


@dataclass(frozen=True)
class _SubnetworkOutputs:
    """The outputs of all sub-networks, in order of their numbers.

    Attributes:
        passes: passes of the model.
        head: the layer that alone takes the dropped tensor.
        sums: outputs of that layer; None where sub-networks are run.
        shapes: shape of the mask by the name of the site.
        scaled: output of the weight-scaled pass.
    """

    passes: ForwardPasses
    head: AdditiveHead
    sums: SubsetSums | None
    shapes: dict[str, tuple[int, ...]]
    scaled: torch.Tensor

    @property
    def head_is_last(self) -> bool:
        return self.sums is not None and self.head.is_last(self.scaled)

    def chunks(self) -> Iterator[torch.Tensor]:
        """Outputs ``(sub-networks, ...)``, a chunk at a time."""
        if self.sums is not None:
            sums = self.sums.chunks(_CHUNK)
            if self.head_is_last:
                yield from (chunk.reshape(-1, *self.scaled.shape) for chunk in sums)
            else:
                yield from self.head.outputs_behind(sums, self.scaled.shape)
            return
        count, size = 2 ** sum(map(math.prod, self.shapes.values())), self.passes.members_at_once(_CHUNK)
        for first in range(0, count, size):
            numbers = torch.arange(first, min(first + size, count))
            yield self.passes.run_members(FixedMask, _masks(self.shapes, numbers))


def _summarise(outputs: _SubnetworkOutputs, predictor: Predictor, rates: dict[str, float]) -> Enumeration:
    scaled = outputs.scaled
    moments = Moments(predictor, predictor(scaled))
    weights = _probabilities(outputs.shapes, rates)
    keep = len(weights) * scaled.numel() <= _KEPT
    kept: list[torch.Tensor] = []
    done = 0
    minimum, maximum = torch.full_like(scaled, torch.inf), torch.full_like(scaled, -torch.inf)
    for chunk in outputs.chunks():
        predictions = moments.add(chunk, weights[done : done + len(chunk)].to(chunk.device))
        minimum = torch.minimum(minimum, predictions.amin(0))
        maximum = torch.maximum(maximum, predictions.amax(0))
        done += len(chunk)
        if keep:
            kept.append(chunk)
    return Enumeration(
        shapes=outputs.shapes,
        rates=rates,
        by="passes" if outputs.sums is None else "doubling",
        mean=moments.mean,
        geometric_mean=moments.geometric_mean,
        weight_scaled=predictor(scaled),
        std=moments.variance.sqrt().to(scaled.dtype),
        minimum=minimum,
        maximum=maximum,
        outputs=torch.cat(kept) if keep else None,
        _predictor=predictor,
        _sums=outputs.sums if outputs.head_is_last else None,
    )


def _check_decisions(sources: Mapping[str, NoMask]) -> None:
    if noise := [name for name, s in sources.items() if not s.mask_shape or s.form is Form.GAUSSIAN]:
        raise InputError(
            sentence(
                "a site must keep or drop units to have sub-networks",
                f"{', '.join(noise)} multiplies by noise",
                "leave it out with sites=[...], or use thinned.ensemble.sample",
            )
        )


def _check_count(shapes: Mapping[str, tuple[int, ...]], limit: int | None, default: int) -> None:
    units = {name: math.prod(shape) for name, shape in shapes.items()}
    total, most = sum(units.values()), default if limit is None else limit
    if total > _MOST_UNITS or 2**total > most:
        count = f"2^{total} = {2**total:,}" if total <= 64 else f"2^{total}"
        parts = ", ".join(f"{n} of {name or 'the model'}" for name, n in units.items())
        raise TooManyError(
            sentence(
                f"there must be at most {most:,} sub-networks to enumerate",
                f"got {count} (units: {parts})",
                "choose fewer sites with sites=[...], raise limit=, or use thinned.ensemble.sample",
            )
        )


def _probabilities(shapes: Mapping[str, tuple[int, ...]], rates: Mapping[str, float]) -> torch.Tensor:
    out = torch.ones(1, dtype=torch.float64)
    for name, shape in shapes.items():
        out = (subset_probabilities(math.prod(shape), rates[name])[:, None] * out).flatten()
    return out


def _masks(shapes: Mapping[str, tuple[int, ...]], numbers: torch.Tensor) -> dict[str, torch.Tensor]:
    """The bits of the numbers, site by site."""
    out, first = {}, 0
    for name, shape in shapes.items():
        units = math.prod(shape)
        bits = numbers[:, None] >> torch.arange(first, first + units) & 1
        out[name] = bits.bool().reshape(-1, *shape)
        first += units
    return out
