"""Dropout at the end of a residual branch."""

import torch

from thinned import functional
from thinned.layers.base import Addressed

__all__ = ["DropoutAdd"]


class DropoutAdd(Addressed):
    """``residual + dropout(x)`` in one pass over memory: the end of a residual branch (Vaswani et al. 2017, §5.4).

    Each element of ``input`` is its own decision; the residual is never dropped. Put it where a transformer block has
    ``residual + dropout(sublayer(x))``; not where the sum is dropped as a whole.

    Args:
        p: probability of dropping, in [0, 1].

    Shape:
        - Input: ``(*)``, and a residual of the same shape; no elements share a decision.
        - Output: ``(*)``, as the input.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)

    def forward(self, input: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """``residual + dropout(input)`` in training, ``residual + input`` in evaluation."""
        return functional.dropout_add(input, residual, self._rate, self.training, **self._mask_address)

    def extra_repr(self) -> str:
        """Rate."""
        return f"p={self.p}"
