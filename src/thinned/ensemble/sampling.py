"""Members of the ensemble by address: a sample of sub-networks that is the same everywhere."""

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from thinned import philox, uncertainty
from thinned.ensemble.forward import Passes, Select
from thinned.ensemble.mask_sources import Drawn
from thinned.ensemble.predictions import Kind, Moments, Predictor
from thinned.errors import InputError, sentence

__all__ = ["Prediction", "Sample", "keys", "predict", "sample"]

_CHUNK = 1 << 22  # values in the largest tensor known of: 16 MB of float32
_STEP = 16  # members before the standard error is looked at again


@dataclass(frozen=True)
class Sample:
    """Sub-networks that were sampled.

    Attributes:
        outputs: ``(members, ...)``: the model's output for members 0, 1, 2 …
        mean: of their predictions.
        std: standard deviation over members, with members − 1 in the denominator.
        standard_error: of the mean: std / √members.
        loop: why members were run one after the other; "" where they were run in one batch.
    """

    outputs: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor
    standard_error: torch.Tensor
    loop: str

    @property
    def members(self) -> int:
        """How many there are."""
        return len(self.outputs)


@dataclass(frozen=True)
class Prediction:
    """A prediction and how sure it is.

    Attributes:
        mean: over the members.
        total: uncertainty in all: entropy in nats of the mean probability; for values, the variance.
        aleatoric: what a member is unsure of by itself: mean entropy; for values, the noise variance.
        epistemic: what members disagree about: mutual information; for values, their variance.
        sample: the members, with the standard error of the mean.
    """

    mean: torch.Tensor
    total: torch.Tensor
    aleatoric: torch.Tensor
    epistemic: torch.Tensor
    sample: Sample


def keys(names: Sequence[str], seed: int, first: int, last: int) -> dict[str, torch.Tensor]:
    """The keys of members ``first`` to ``last`` − 1 at each site: fold_in(fold_in(seed, site), member), int64."""
    return {
        name: torch.from_numpy(philox.fold_in_each(_site_key(seed, name), range(first, last)).view("int64"))
        for name in names
    }


@functools.lru_cache(1 << 12)
def _site_key(seed: int, name: str) -> int:
    return philox.fold_in(seed, philox.site_number(name))


def sample(
    model: nn.Module,
    x: Any,
    members: int = 64,
    *,
    output: Kind = "values",
    until: float | None = None,
    seed: int = 0,
    sites: Sequence[str] | None = None,
    select: Select = None,
    batch_axis: int | None = None,
) -> Sample:
    """Run sub-networks drawn at random, each by its address.

    The mask of member m at a site has the key fold_in(fold_in(seed, site_number(name)), m) and call 0, and is shared by
    all examples: member 17 is one sub-network, today, tomorrow and on another machine, however examples are batched.
    The model runs in evaluation, but for its chosen dropout sites, and is left as it was. Members are run in one batch;
    what stands before the first dropout is computed once. A model that cannot be batched (control flow that depends on
    data) is looped over, and ``loop`` says why.

    Args:
        model: any module.
        x: a tensor; a tuple of arguments; or a mapping of keyword arguments.
        members: how many; the most, where ``until`` is given.
        output: "values", "logits" or "probabilities", as for :func:`enumerate`: of what mean and std are.
        until: stop as soon as no standard error of the mean is larger; looked at every 16 members.
        seed: of the ensemble.
        sites: names of the sites that drop; None is all.
        select: takes one tensor out of a structured output; by default its ``logits``.
        batch_axis: of ``x``, along which examples lie; None is 0, or 1 for recurrent and attention modules that are not
            ``batch_first``.

    Raises:
        InputError: ``members`` is less than 2, or there is no site.

    Example:
        >>> import torch, thinned
        >>> model = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(4, 1))
        >>> fifty = thinned.ensemble.sample(model, torch.ones(3, 4), 50)
        >>> fifty.outputs.shape, fifty.mean.shape
        (torch.Size([50, 3, 1]), torch.Size([3, 1]))
        >>> again = thinned.ensemble.sample(model, torch.ones(1, 4), 18)
        >>> bool(again.outputs[17, 0] == fifty.outputs[17, 0])
        True
    """
    if isinstance(members, bool) or not isinstance(members, int) or members < 2:
        raise InputError(sentence("members must be an int of at least 2", f"got members={members!r}"))
    with Passes(model, x, sites, select, batch_axis) as passes:
        chunks = _chunks(passes, members, seed, passes.chunk(_CHUNK) if until is None else _STEP)
        first = next(chunks)
        predictor = Predictor.of(output, first[0])
        moments, outputs = Moments(predictor, predictor(first[0])), []
        for chunk in itertools.chain([first], chunks):
            moments.add(chunk, torch.ones(len(chunk), dtype=torch.float64, device=chunk.device))
            outputs.append(chunk)
            error = (moments.variance / max(moments.weight - 1, 1)).sqrt()
            if until is not None and moments.weight >= _STEP and float(error.max()) <= until:
                break
    return Sample(
        outputs=outputs[0] if len(outputs) == 1 else torch.cat(outputs),
        mean=moments.mean,
        std=(error * math.sqrt(moments.weight)).to(moments.mean.dtype),
        standard_error=error.to(moments.mean.dtype),
        loop=passes.reason,
    )


def _chunks(passes: Passes, members: int, seed: int, size: int) -> Iterator[torch.Tensor]:
    """Outputs of members 0, 1, 2 …, at most ``size`` at once."""
    names, size = [site.name for site in passes.sites], min(size, passes.chunk(_CHUNK))
    for first in range(0, members, size):
        yield passes.many(Drawn, keys(names, seed, first, min(first + size, members)))


def predict(
    model: nn.Module,
    x: Any,
    members: int = 64,
    *,
    output: Kind = "values",
    noise: float | torch.Tensor | None = None,
    **options: Any,
) -> Prediction:
    """The mean prediction of sampled sub-networks, and its uncertainty, split by where it comes from.

    Args:
        model: as for :func:`sample`.
        x: as for :func:`sample`.
        members: as for :func:`sample`.
        output: "values", "logits" or "probabilities".
        noise: variance of the noise of values, known or predicted; broadcast against the members' predictions.
        options: the other arguments of :func:`sample`.

    Raises:
        InputError: as :func:`sample`; or ``noise`` is given for a classification.

    Example:
        >>> import torch, thinned
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Dropout(0.5),
        ...     torch.nn.Linear(8, 3))
        >>> prediction = thinned.ensemble.predict(model, torch.ones(2, 4), output="logits")
        >>> prediction.mean.shape, prediction.total.shape
        (torch.Size([2, 3]), torch.Size([2]))
        >>> bool(((prediction.total - prediction.aleatoric - prediction.epistemic).abs() < 1e-6).all())
        True
    """
    drawn = sample(model, x, members, output=output, **options)
    predictions = Predictor.of(output, drawn.outputs[0])(drawn.outputs)
    if output == "values":
        split = uncertainty.split_variance(predictions, noise)
    elif noise is not None:
        raise InputError(sentence("noise is for values", f"got it with output={output!r}", "leave it out"))
    else:
        split = uncertainty.split_entropy(predictions)
    return Prediction(drawn.mean, split.total, split.aleatoric, split.epistemic, drawn)
