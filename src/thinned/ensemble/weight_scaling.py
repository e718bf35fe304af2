"""How far the weight-scaled single pass is from the ensemble that it stands for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from thinned.ensemble.enumeration import TooManyError, enumerate  # noqa: A004 - the field's word
from thinned.ensemble.forward import Passes, Select
from thinned.ensemble.predictions import Kind, Predictor
from thinned.ensemble.sampling import sample

__all__ = ["Gap", "gap"]


@dataclass(frozen=True)
class Gap:
    """The error of weight scaling.

    Attributes:
        gap: weight-scaled prediction − mean of the ensemble.
        standard_error: of the mean, and so of the gap; 0 where all sub-networks were enumerated.
        geometric: weight-scaled prediction − normalised geometric mean of probabilities; None for values.
        exact: whether all sub-networks were enumerated.
        mean: of the ensemble.
        geometric_mean: of the ensemble.
        weight_scaled: the prediction of the single pass without dropout.
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
    x: Any,
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
    the geometric mean of logistic or softmax outputs of such (Baldi & Sadowski 2013). Otherwise it is not.

    Args:
        model: as for :func:`enumerate`, and so ``x``.
        x: input.
        members: to sample where there are more than 2^16 sub-networks (2^24 by doubling).
        output: "values", "logits" or "probabilities".
        seed: of the sample.
        sites: names of the sites that drop; None is all.
        select: takes one tensor out of a structured output.
        batch_axis: of ``x``, along which examples lie.

    Example:
        >>> import torch, thinned
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 1))
        >>> found = thinned.ensemble.gap(model, torch.ones(3, 2))
        >>> found.exact, bool(found.gap.abs().max() < 1e-6)
        (True, True)
    """
    shared: dict[str, Any] = {"output": output, "sites": sites, "select": select, "batch_axis": batch_axis}
    try:
        every = enumerate(model, x, **shared)
    except TooManyError:
        return _sampled(model, x, members, seed, shared)
    geometric = every.geometric_mean
    return Gap(
        gap=every.weight_scaled - every.mean,
        standard_error=torch.zeros_like(every.mean),
        geometric=None if geometric is None else every.weight_scaled - geometric,
        exact=True,
        mean=every.mean,
        geometric_mean=geometric,
        weight_scaled=every.weight_scaled,
    )


def _sampled(model: nn.Module, x: Any, members: int, seed: int, shared: dict[str, Any]) -> Gap:
    drawn = sample(model, x, members, seed=seed, **shared)
    with Passes(model, x, shared["sites"], shared["select"], shared["batch_axis"]) as passes:
        scaled = passes.one(passes.off())
    predictor = Predictor.of(shared["output"], scaled)
    logs = predictor.geometric()
    geometric = None if logs is None else predictor.normalised(tuple(log.mean(0) for log in logs(drawn.outputs)))
    weight_scaled = predictor(scaled)
    return Gap(
        gap=weight_scaled - drawn.mean,
        standard_error=drawn.standard_error,
        geometric=None if geometric is None else weight_scaled - geometric,
        exact=False,
        mean=drawn.mean,
        geometric_mean=geometric,
        weight_scaled=weight_scaled,
    )
