"""The optimizer of a stack: one step for all members, whose weight decay and norm of gradients are their own."""

from collections.abc import Sequence

import torch
from torch import nn

from thinned.studies.training.loop.config import NetworkConfig
from thinned.studies.training.loop.optimizer import NetworkOptimizer

__all__ = ["StackOptimizer"]

_SMALL = 1e-6  # as torch.nn.utils.clip_grad_norm_ adds it to a norm


class StackOptimizer(NetworkOptimizer):
    """:class:`NetworkOptimizer` with a leading axis of members.

    Args:
        parameters: stacked parameters.
        configs: that of each member; they differ in weight decay alone.
        steps: number of all steps, over which a schedule runs.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], configs: Sequence[NetworkConfig], steps: int) -> None:
        super().__init__(nn.ParameterList(parameters), configs[0], steps)
        self._weight_decays = torch.tensor([config.weight_decay for config in configs], dtype=torch.float64)
        decays = bool(self._weight_decays.any())
        self._decayed = [p for p in parameters if p.ndim > 2] if decays else []

    def _clip(self, most: float) -> None:
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norms = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients])
        factors = (most / (torch.linalg.vector_norm(norms, dim=0) + _SMALL)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(_of_members(factors, gradient))

    def _decay(self, rate: float) -> None:
        factors = 1 - rate * self._weight_decays
        for parameter in self._decayed:
            parameter.mul_(_of_members(factors, parameter))


def _of_members(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """One value a member, to be multiplied with a stacked tensor."""
    return values.to(like).reshape(-1, *[1] * (like.ndim - 1))
