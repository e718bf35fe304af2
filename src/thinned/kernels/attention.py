"""Attention with dropout, as kernels take it."""

from typing import NamedTuple, Protocol

import torch

from thinned.kernels.address import Address

__all__ = ["AttentionKernels", "AttentionProblem"]


class AttentionProblem(NamedTuple):
    """The operands of attention with dropout.

    Args:
        query: ``(..., L, E)``.
        key: ``(..., S, E)``; its last batch axis, the heads, may be shorter than the query's by a whole factor.
        value: ``(..., S, Ev)``, with the batch shape of ``key``.
        mask: broadcastable to ``(..., L, S)``, bool or float; None hides nothing.
        address: of the mask; numbers, or 0-dim tensors.
        scale: factor of the scores.
        causal: a query sees the keys up to its own position.
    """

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    mask: torch.Tensor | None
    address: Address
    scale: float
    causal: bool


class AttentionKernels(Protocol):
    """A module that computes attention with dropout, without autograd."""

    def supports(self, query: torch.Tensor, value: torch.Tensor, scale: float) -> bool:
        """True where the module takes such operands."""
        ...

    def attention_forward(self, problem: AttentionProblem) -> tuple[torch.Tensor, torch.Tensor]:
        """Attend.

        Returns:
            ``(..., L, Ev)``, and the logarithm of each softmax's denominator, float32 ``(..., L)``, inf without a key.
        """
        ...

    def attention_backward(
        self, grad: torch.Tensor, out: torch.Tensor, lse: torch.Tensor, problem: AttentionProblem
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The gradients of query, key and value, each of its operand's shape and dtype.

        Args:
            grad: gradient of the output.
            out: result of :meth:`attention_forward`.
            lse: its logarithms.
            problem: that of the forward pass.
        """
        ...
