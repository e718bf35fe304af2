"""Functions of torch as a pass of the ensemble runs them, so that nothing outside the pass changes.

Normalisation uses running statistics and leaves them alone.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F

from thinned.tracing.private_generators import TorchFunction

__all__ = ["normalise"]


def _batch_norm(
    input: torch.Tensor,  # noqa: A002
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor:
    by_batch = training and running_mean is None
    return F.batch_norm(input, running_mean, running_var, weight, bias, by_batch, momentum, eps)


def _instance_norm(
    input: torch.Tensor,  # noqa: A002
    running_mean: torch.Tensor | None = None,
    running_var: torch.Tensor | None = None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor:
    by_input = use_input_stats and running_mean is None
    return F.instance_norm(input, running_mean, running_var, weight, bias, by_input, momentum, eps)


_NORMALISATIONS: Mapping[TorchFunction, TorchFunction] = {F.batch_norm: _batch_norm, F.instance_norm: _instance_norm}


def normalise(function: TorchFunction) -> TorchFunction:
    """The form of a normalisation that evaluation runs: a batch of one row has no statistics; others are themselves."""
    return _NORMALISATIONS.get(function, function)
