"""Adam for a stack of networks, with a weight decay and a largest norm for each."""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch.optim.adam import adam

from thinned.studies.design.setting import Setting

__all__ = ["AdamW"]


class _Stacked(Protocol):
    parameters: dict[str, torch.nn.Parameter]


class AdamW:
    """Adam (Kingma & Ba 2015) with decoupled weight decay (Loshchilov & Hutter 2019) and max-norm, member by member.

    Weight decay takes ``learning rate · decay`` of a matrix off before each step. After it, a hidden unit whose
    incoming weights have a larger norm than the member's limit is scaled back to it (Srivastava et al. 2014, §5.1).
    Biases, scales and shifts are left alone by both, the output layer by the second.

    Args:
        stack: networks whose ``parameters`` have a leading axis of members, the output layer's matrix last. Those
            without a gradient stay as they are.
        settings: the setting of each member.
        learning_rate: one learning rate for all members.
    """

    def __init__(self, stack: _Stacked, settings: Sequence[Setting], learning_rate: float) -> None:
        self._parameters = [p for p in stack.parameters.values() if p.requires_grad]
        self._rate = learning_rate
        self._means = [torch.zeros_like(p) for p in self._parameters]
        self._squares = [torch.zeros_like(p) for p in self._parameters]
        self._steps = [torch.zeros(()) for _ in self._parameters]
        matrices = [p for p in stack.parameters.values() if p.ndim > 2]
        kept = torch.tensor([1 - learning_rate * setting.weight_decay for setting in settings])
        self._decayed = [p for p in matrices if p.requires_grad] if bool((kept < 1).any()) else []
        self._kept = [kept.view(-1, *[1] * (p.ndim - 1)) for p in self._decayed]
        limits = [math.inf if setting.max_norm is None else setting.max_norm for setting in settings]
        self._limited = torch.tensor([m for m, limit in enumerate(limits) if limit < math.inf], dtype=torch.int64)
        self._limits = torch.tensor(limits)[self._limited]
        self._hidden = [p for p in matrices[:-1] if p.requires_grad] if len(self._limited) else []

    @torch.no_grad()
    def step(self) -> None:
        """Take one step with the parameters' gradients, and clear them."""
        for p, kept in zip(self._decayed, self._kept, strict=True):
            p.mul_(kept)
        used = [n for n, p in enumerate(self._parameters) if p.grad is not None]
        adam(
            [self._parameters[n] for n in used],
            [self._parameters[n].grad for n in used],  # type: ignore[misc]
            [self._means[n] for n in used],
            [self._squares[n] for n in used],
            [],
            [self._steps[n] for n in used],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self._rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )
        for p in self._parameters:
            p.grad = None
        for p in self._hidden:
            self._limit(p)

    def _limit(self, weights: torch.Tensor) -> None:
        own = weights[self._limited]
        norms = own.flatten(2).norm(dim=2)
        scale = (self._limits[:, None] / norms.clamp_min(1e-12)).clamp_max(1)
        weights[self._limited] = own * scale.view(*scale.shape, *[1] * (own.ndim - 2))
