"""Members of the ensemble by address: a sample of sub-networks that is the same everywhere."""

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from thinned import philox, uncertainty
from thinned.ensemble.forward import ForwardPasses, Select
from thinned.ensemble.mask_sources import SampledMask
from thinned.ensemble.predictions import Kind, Moments, Predictor
from thinned.errors import InputError, sentence
from thinned.uncertainty.representation import ShortRepr

__all__ = ["Prediction", "Sample", "member_keys", "predict", "sample"]

_CHUNK = 1 << 22  # values in the largest known tensor: 16 MB of float32
_STEP = 16  # members between two looks at the standard error


@dataclass(frozen=True, repr=False)
class Sample(ShortRepr):
    """Sampled sub-networks.

    Attributes:
        outputs: ``(members, ...)``: the model's output for members 0, 1, 2 …
        mean: mean of the members' predictions.
        std: standard deviation over members, with members − 1 in the denominator.
        standard_error: standard error of the mean: std / √members.
        loop: reason for which members were run one after the other; "" where they were run in one batch.
    """

    outputs: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor
    standard_error: torch.Tensor
    loop: str

    @property
    def members(self) -> int:
        """Number of members."""
        return len(self.outputs)


@dataclass(frozen=True, repr=False)
class Prediction(ShortRepr):
    """A prediction and its uncertainty.

    Attributes:
        mean: mean over the members.
        total: entropy of the mean probability, in nats; for values, the variance.
        aleatoric: uncertainty that each member has by itself: mean entropy; for values, the noise variance.
        epistemic: disagreement of the members: mutual information; for values, their variance.
        sample: the members, with the standard error of the mean.
    """

    mean: torch.Tensor
    total: torch.Tensor
    aleatoric: torch.Tensor
    epistemic: torch.Tensor
    sample: Sample


def member_keys(names: Sequence[str], seed: int, first: int, last: int) -> dict[str, torch.Tensor]:
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
    x: object,
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

    The mask of member m at a site has the key fold_in(fold_in(seed, site_number(name)), m) and call 0, and all examples
    share it: member 17 is one sub-network on every machine, however examples are batched. The model is only read: a
    copy of its modules runs in evaluation, with the chosen sites active. Members run in one batch, and everything
    before the first dropout is computed once. If control flow depends on data, they run in a loop.

    Args:
        model: any module.
        x: a tensor; a tuple of arguments; or a mapping of keyword arguments.
        members: number of members; the largest number if ``until`` is given.
        output: kind of the model's output, as for :func:`enumerate`: "values", "logits" or "probabilities".
        until: standard error of the mean below which sampling stops; checked every 16 members.
        seed: seed of the ensemble.
        sites: names of the sites that drop; None chooses all.
        select: function that takes one tensor out of the output; by default its ``logits``.
        batch_axis: axis of examples of ``x``, as for :func:`enumerate`.

    Raises:
        InputError: ``members`` is less than 2, there is no site, or the output is not of its kind.

    Example:
        >>> import torch, thinned
        >>> model = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(4, 1))
        >>> thinned.ensemble.sample(model, torch.ones(3, 4), 50).outputs.shape
        torch.Size([50, 3, 1])
    """
    if isinstance(members, bool) or not isinstance(members, int) or members < 2:
        raise InputError(sentence("members must be an int of at least 2", f"got members={members!r}"))
    passes = ForwardPasses(model, x, sites, select, batch_axis)
    chunks = _chunks(passes, members, seed, members if until is None else _STEP)
    first = next(chunks)
    predictor = Predictor.for_output(output, first[0], classes_may_be_first=passes.classes_may_be_first)
    moments, outputs = Moments(predictor, predictor(first[0])), []
    for chunk in itertools.chain([first], chunks):
        moments.add(chunk, torch.ones(len(chunk), dtype=torch.float64, device=chunk.device))
        outputs.append(chunk)
        error = (moments.variance / max(moments.weight - 1, 1)).sqrt()
        if until is not None and moments.weight >= _STEP and bool((error <= until).all()):
            break
    return Sample(
        outputs=outputs[0] if len(outputs) == 1 else torch.cat(outputs),
        mean=moments.mean,
        std=(error * math.sqrt(moments.weight)).to(moments.mean.dtype),
        standard_error=error.to(moments.mean.dtype),
        loop=passes.loop_reason,
    )


def _chunks(passes: ForwardPasses, members: int, seed: int, most: int) -> Iterator[torch.Tensor]:
    """Outputs of members 0, 1, 2 …, at most ``most`` at once."""
    names, size = [site.name for site in passes.sites], min(most, passes.members_at_once(_CHUNK))
    for first in range(0, members, size):
        yield passes.run_members(SampledMask, member_keys(names, seed, first, min(first + size, members)))


def predict(
    model: nn.Module,
    x: object,
    members: int = 64,
    *,
    output: Kind = "values",
    noise: float | torch.Tensor | None = None,
    until: float | None = None,
    seed: int = 0,
    sites: Sequence[str] | None = None,
    select: Select = None,
    batch_axis: int | None = None,
) -> Prediction:
    """The mean prediction of sampled sub-networks, and its uncertainty, split by its source.

    Args:
        model: as for :func:`sample`, and so all arguments but ``noise``.
        x: input of the model.
        members: number of members.
        output: kind of the model's output: "values", "logits" or "probabilities".
        noise: variance of the noise of values, known or predicted; broadcast against the members' predictions.
        until: standard error of the mean below which sampling stops.
        seed: seed of the ensemble.
        sites: names of the sites that drop; None chooses all.
        select: function that takes one tensor out of the output.
        batch_axis: axis of examples of ``x``.

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
    if noise is not None and output != "values":
        raise InputError(sentence("noise is for values", f"got it with output={output!r}", "leave it out"))
    drawn = sample(
        model,
        x,
        members,
        output=output,
        until=until,
        seed=seed,
        sites=sites,
        select=select,
        batch_axis=batch_axis,
    )
    if output == "values":
        split = uncertainty.split_variance(drawn.outputs, noise)
    else:
        predictions = Predictor.for_output(output, drawn.outputs[0])(drawn.outputs)
        split = _split_entropy(predictions)
    return Prediction(drawn.mean, split.total, split.aleatoric, split.epistemic, drawn)


def _split_entropy(predictions: torch.Tensor) -> uncertainty.Split:
    """Also for a model that made a scalar of a batch of one row, by ``squeeze()``."""
    if predictions.ndim > 1:
        return uncertainty.split_entropy(predictions)
    return uncertainty.Split(*(part.squeeze(0) for part in uncertainty.split_entropy(predictions.unsqueeze(1))))
