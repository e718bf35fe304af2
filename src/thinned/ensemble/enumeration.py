"""Every sub-network of a model: masks, probabilities, outputs and their moments."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from thinned.ensemble.doubling import Additive, probabilities
from thinned.ensemble.forward import Passes, Select
from thinned.ensemble.head import Head
from thinned.ensemble.mask_sources import Given, Off
from thinned.ensemble.predictions import Kind, Moments, Predictor
from thinned.errors import InputError, sentence
from thinned.kernels.form import Form

__all__ = ["Enumeration", "TooManyError", "enumerate"]

_CHUNK = 1 << 22  # values in a chunk: 16 MB of float32
_KEPT = 1 << 24  # values of all outputs that are kept: 64 MB
_BY_PASSES = 1 << 16  # sub-networks that are run, unless the caller says otherwise
_BY_DOUBLING = 1 << 24  # that are summed
_MOST = 40  # units: their probabilities and numbers must fit somewhere, whatever the caller says


class TooManyError(InputError):
    """There are more sub-networks than can be enumerated."""


@dataclass(frozen=True)
class Enumeration:
    """All sub-networks of the chosen sites, numbered: bit i of a number is whether unit i is kept.

    Units are numbered through the sites in their order, row-major within a site.

    Attributes:
        shapes: by the site's name, the shape of its mask; 1 along axes that share a decision, as the examples do.
        rates: by the site's name, p.
        by: "doubling" where the sums of an additive head were built, "passes" where each sub-network was run.
        mean: the prediction of the ensemble: mean over the sub-networks by their probability.
        geometric_mean: the normalised geometric mean of probabilities; None for values, which have none.
        weight_scaled: the prediction of the single pass without dropout.
        std: standard deviation over the sub-networks.
        minimum: smallest prediction of a sub-network.
        maximum: largest.
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
    _sums: Additive | None = field(repr=False)

    @property
    def units(self) -> int:
        """How many decisions there are, n."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def count(self) -> int:
        """How many sub-networks there are, 2^n."""
        return 1 << self.units

    @property
    def probabilities(self) -> torch.Tensor:
        """Of each sub-network, p^dropped (1 − p)^kept over all sites: float64 ``(2^n,)``."""
        return _probabilities(self.shapes, self.rates)

    def masks(self, first: int = 0, last: int | None = None) -> dict[str, torch.Tensor]:
        """The masks of sub-networks ``first`` to ``last`` − 1 (None is all), by site: bool ``(networks, *shape)``."""
        return _masks(self.shapes, torch.arange(first, self.count if last is None else last))

    def quantile(self, q: float) -> torch.Tensor:
        """The smallest prediction that sub-networks of total probability ``q`` or more do not exceed.

        Raises:
            InputError: ``q`` lies outside [0, 1], or outputs were neither kept nor are they sums, by themselves or
                through the logistic function.
        """
        if not 0 <= q <= 1:
            raise InputError(sentence("q must lie in [0, 1]", f"got q={q!r}"))
        if self.outputs is not None:
            values, order = self._predictor(self.outputs).sort(dim=0)
            share = self.probabilities.to(values.device)[order].cumsum(0)
            index = (share < q - 1e-12).sum(0, keepdim=True).clamp(max=self.count - 1)
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
    x: Any,
    *,
    output: Kind = "values",
    sites: Sequence[str] | None = None,
    select: Select = None,
    batch_axis: int | None = None,
    limit: int | None = None,
) -> Enumeration:
    """Run every sub-network that the chosen sites can make, each weighted by its probability.

    A decision is taken for all examples at once, so that a sub-network is one network; a site with n units has 2^n of
    them. They are scaled by 1 / (1 − p), with p as given and not quantised. The model runs in evaluation, but for its
    chosen dropout sites; it is left as it was.

    For one site of ``(rows, n)`` whose only consumer is a linear layer, the 2^n outputs of that layer are built by
    doubling a table of sums, and only what stands behind it is run for each. Memory is bounded by chunks.

    Args:
        model: any module.
        x: a tensor; a tuple of arguments; or a mapping of keyword arguments.
        output: what the model's output is: "values", "logits" or "probabilities"; logits are turned to probabilities
            (logistic for one column, softmax for more) before they are averaged.
        sites: names of the sites that drop, as :func:`thinned.sites.find` gives them; None is all.
        select: takes one tensor out of a structured output; by default its ``logits``.
        batch_axis: of ``x``, along which examples lie; None is 0, or 1 for recurrent and attention modules that are not
            ``batch_first``.
        limit: of sub-networks; None is 2^24 by doubling and 2^16 otherwise.

    Raises:
        TooManyError: there are more sub-networks than ``limit``.
        InputError: there is no site, or one of Gaussian noise.

    Example:
        >>> import torch, thinned
        >>> model = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(2, 1, bias=False))
        >>> model[1].weight.data = torch.tensor([[1.0, 2.0]])
        >>> every = thinned.ensemble.enumerate(model, torch.ones(1, 2))
        >>> every.outputs.flatten(), every.mean, every.weight_scaled
        (tensor([0., 2., 4., 6.]), tensor([[3.]]), tensor([[3.]]))
    """
    with Passes(model, x, sites, select, batch_axis) as passes:
        return _enumerate(passes, output, limit)


def _enumerate(passes: Passes, kind: Kind, limit: int | None) -> Enumeration:
    off, head = passes.off(), Head(passes)
    with head.watching():
        scaled = passes.one(off)
        _check_decisions(off)
        shapes = {name: decider.decisions for name, decider in off.items()}
        rates = {name: decider.p for name, decider in off.items()}
        units = sum(map(math.prod, shapes.values()))
        sums = head.sums(off) if units <= _MOST else None
        _check_count(shapes, limit, _BY_PASSES if sums is None else _BY_DOUBLING)
        last = sums is not None and head.is_last(scaled)
        predictor = Predictor.of(kind, scaled)
        moments = Moments(predictor, predictor(scaled))
        weights, kept, done = _probabilities(shapes, rates), [], 0
        keep = len(weights) * scaled.numel() <= _KEPT
        minimum, maximum = torch.full_like(scaled, torch.inf), torch.full_like(scaled, -torch.inf)
        for chunk in _outputs(passes, head, sums, last, shapes, scaled):
            predictions = moments.add(chunk, weights[done : done + len(chunk)].to(chunk.device))
            minimum = torch.minimum(minimum, predictions.amin(0))
            maximum = torch.maximum(maximum, predictions.amax(0))
            done += len(chunk)
            if keep:
                kept.append(chunk)
    return Enumeration(
        shapes=shapes,
        rates=rates,
        by="passes" if sums is None else "doubling",
        mean=moments.mean,
        geometric_mean=moments.geometric_mean,
        weight_scaled=predictor(scaled),
        std=moments.variance.sqrt().to(scaled.dtype),
        minimum=minimum,
        maximum=maximum,
        outputs=torch.cat(kept) if keep else None,
        _predictor=predictor,
        _sums=sums if last else None,
    )


def _outputs(
    passes: Passes,
    head: Head,
    sums: Additive | None,
    last: bool,
    shapes: Mapping[str, tuple[int, ...]],
    scaled: torch.Tensor,
) -> Iterator[torch.Tensor]:
    """Outputs ``(sub-networks, ...)`` of all sub-networks, a chunk at a time."""
    if sums is not None:
        chunks = sums.chunks(_CHUNK)
        if last:
            yield from (chunk.reshape(-1, *scaled.shape) for chunk in chunks)
        else:
            yield from head.behind(chunks, scaled.shape)
        return
    count, size = 2 ** sum(map(math.prod, shapes.values())), passes.chunk(_CHUNK)
    for first in range(0, count, size):
        numbers = torch.arange(first, min(first + size, count))
        yield passes.many(Given, _masks(shapes, numbers))


def _check_decisions(off: Mapping[str, Off]) -> None:
    if soft := [name for name, decider in off.items() if not decider.decisions or decider.form is Form.GAUSSIAN]:
        raise InputError(
            sentence(
                "a site must keep or drop for there to be sub-networks",
                f"{', '.join(soft)} multiplies by noise",
                "leave it out with sites=[...], or use thinned.ensemble.sample",
            )
        )


def _check_count(shapes: Mapping[str, tuple[int, ...]], limit: int | None, usual: int) -> None:
    units = {name: math.prod(shape) for name, shape in shapes.items()}
    total, most = sum(units.values()), usual if limit is None else limit
    if total > _MOST or 2**total > most:
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
        out = (probabilities(math.prod(shape), rates[name])[:, None] * out).flatten()
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
