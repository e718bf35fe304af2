"""Optimizer and schedule of a network of one's own."""

import math
from collections.abc import Mapping

import torch
from torch import nn

from thinned.studies.training.loop.config import NetworkConfig

__all__ = ["NetworkOptimizer"]


class NetworkOptimizer:
    """AdamW or SGD of torch, with decoupled weight decay of matrices, clipping and a schedule.

    Args:
        network: its parameters with gradients are trained.
        config: see there.
        steps: number of all steps, over which a schedule runs.
    """

    def __init__(self, network: nn.Module, config: NetworkConfig, steps: int) -> None:
        self._config, self._steps = config, steps
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        decays = config.weight_decay > 0
        self._decayed: list[torch.Tensor] = [p for p in self._parameters if p.ndim > 1] if decays else []
        if config.optimizer == "sgd":
            self.torch: torch.optim.Optimizer = torch.optim.SGD(
                self._parameters, lr=config.learning_rate, momentum=config.momentum
            )
        else:
            # fused: one call for all parameters
            fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda", "mps") for p in self._parameters)
            self.torch = torch.optim.AdamW(
                self._parameters, lr=config.learning_rate, weight_decay=0.0, fused=fused or None
            )

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        share = 0.5 * (1 + math.cos(math.pi * min(step / self._steps, 1))) if self._config.schedule == "cosine" else 1.0
        return self._config.learning_rate * share

    @torch.no_grad()
    def step(self, step: int) -> None:
        """Take step number ``step`` with the parameters' gradients, and clear them."""
        rate = self.rate(step)
        if self._config.clip is not None:
            self._clip(self._config.clip)
        if self._decayed:
            self._decay(rate)
        self.torch.param_groups[0]["lr"] = rate
        self.torch.step()
        self.torch.zero_grad()

    def _clip(self, most: float) -> None:
        nn.utils.clip_grad_norm_(self._parameters, most)

    def _decay(self, rate: float) -> None:
        torch._foreach_mul_(self._decayed, 1 - rate * self._config.weight_decay)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The state of the optimizer by the number of a parameter and a name, as "3/exp_avg"."""
        states = self.torch.state_dict()["state"]
        return {f"{n}/{name}": t for n, state in states.items() for name, t in state.items() if t is not None}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take the state that :meth:`tensors` gave."""
        states: dict[int, dict[str, torch.Tensor]] = {}
        for key, tensor in tensors.items():
            number, _, name = key.partition("/")
            states.setdefault(int(number), {})[name] = tensor
        self.torch.load_state_dict(self.torch.state_dict() | {"state": states})
