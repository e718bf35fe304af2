"""The distance of the weight-scaled single pass from the ensemble that it approximates."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from thinned.ensemble.enumeration import TooManyError, enumerate  # noqa: A004 - the field's word
from thinned.ensemble.forward import ForwardPasses, Select
from thinned.ensemble.predictions import Kind, Predictor
from thinned.ensemble.sampling import sample
from thinned.uncertainty.representation import ShortRepr

__all__ = ["Gap", "gap"]


@dataclass(frozen=True, repr=False)
class Gap(ShortRepr):
    """The error of weight scaling.

    Attributes:
        gap: weight-scaled prediction − mean of the ensemble.
        standard_error: standard error of the mean, and so of the gap; 0 where all sub-networks were enumerated.
        geometric: weight-scaled prediction − normalised geometric mean of probabilities; None for values.
        exact: whether all sub-networks were enumerated.
        mean: mean of the ensemble.
        geometric_mean: normalised geometric mean of the ensemble; None for values.
        weight_scaled: prediction of the single pass without dropout.
    """

    gap: torch.Tensor
    standard_error: torch.Tensor
    geometric: torch.Tensor | None
    exact: bool
    mean: torch.Tensor
    geometric_mean: torch.Tensor | None
    weight_scaled: torch.Tensor


def gap(
    model: nn.Module,
    x: object,
    *,
    members: int = 1024,
    output: Kind = "values",
    seed: int = 0,
    sites: Sequence[str] | None = None,
    select: Select = None,
    batch_axis: int | None = None,
) -> Gap:
    """Compare weight scaling with the mean of all sub-networks, or of a sample where they are too many.

    Weight scaling is exact, up to rounding, for the mean of networks without a nonlinearity behind a dropout, and for
    the geometric mean of the logistic or softmax outputs of such networks (Baldi & Sadowski 2013). Otherwise it is an
    approximation.

    Args:
        model: any module, as for :func:`enumerate`.
        x: input of the model, as for :func:`enumerate`.
        members: number of members to sample where there are more than 2^16 sub-networks (2^24 by doubling).
        output: kind of the model's output: "values", "logits" or "probabilities".
        seed: seed of the sample.
        sites: names of the sites that drop; None chooses all.
        select: function that takes one tensor out of the output.
        batch_axis: axis of examples of ``x``.

    Raises:
        InputError: there is no site, or the output is not of its kind.

    Example:
        >>> import torch, thinned
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 1))
        >>> error = thinned.ensemble.gap(model, torch.ones(3, 2))
        >>> error.exact, bool(error.gap.abs().max() < 1e-6)
        (True, True)
    """
    try:
        every = enumerate(model, x, output=output, sites=sites, select=select, batch_axis=batch_axis)
    except TooManyError:
        return _sampled_gap(model, x, members, output, seed, sites, select, batch_axis)
    return _gap(every.weight_scaled, every.mean, every.geometric_mean, None)


def _sampled_gap(
    model: nn.Module,
    x: object,
    members: int,
    output: Kind,
    seed: int,
    sites: Sequence[str] | None,
    select: Select,
    batch_axis: int | None,
) -> Gap:
    drawn = sample(model, x, members, output=output, seed=seed, sites=sites, select=select, batch_axis=batch_axis)
    passes = ForwardPasses(model, x, sites, select, batch_axis)
    scaled = passes.run(passes.no_masks())
    predictor = Predictor.for_output(output, scaled, classes_may_be_first=passes.classes_may_be_first)
    logarithms = predictor.logarithms()
    geometric_mean = None
    if logarithms is not None:
        means = tuple(log.mean(0) for log in logarithms(drawn.outputs))
        geometric_mean = predictor.normalised_geometric_mean(means)
    return _gap(predictor(scaled), drawn.mean, geometric_mean, drawn.standard_error)


def _gap(
    weight_scaled: torch.Tensor,
    mean: torch.Tensor,
    geometric_mean: torch.Tensor | None,
    standard_error: torch.Tensor | None,
) -> Gap:
    return Gap(
        gap=weight_scaled - mean,
        standard_error=torch.zeros_like(mean) if standard_error is None else standard_error,
        geometric=None if geometric_mean is None else weight_scaled - geometric_mean,
        exact=standard_error is None,
        mean=mean,
        geometric_mean=geometric_mean,
        weight_scaled=weight_scaled,
    )
