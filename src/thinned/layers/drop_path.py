"""Stochastic depth."""

import torch

from thinned import functional
from thinned.layers.base import Addressed

__all__ = ["DropPath", "DropProb"]


class DropProb(Addressed):
    """Base of layers that hold their rate under timm's name, ``drop_prob``."""

    @property
    def p(self) -> float:
        """The rate, ``drop_prob`` in timm."""
        return self.drop_prob

    @p.setter
    def p(self, value: float) -> None:
        self.drop_prob = value


class DropPath(DropProb):
    """Drop-in replacement for timm's ``DropPath``: whole samples of a residual branch (Huang et al. 2016).

    All of a sample share one decision (stochastic depth): its residual branch is skipped. Put it last on the branch,
    just before the addition, with a rate that grows with depth (``schedules.by_depth``); not on a path without a
    shortcut, where a dropped sample would be all zeros.

    Args:
        drop_prob: probability of dropping a sample's branch, in [0, 1].
        scale_by_keep: scale survivors by 1 / (1 − p).

    Shape:
        - Input: ``(N, *)``; all of a sample share a decision.
        - Output: ``(N, *)``, as the input.
    """

    def __init__(self, drop_prob: float = 0.0, scale_by_keep: bool = True) -> None:
        super().__init__(drop_prob)
        self.scale_by_keep = scale_by_keep

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Drop in training, pass ``input`` through in evaluation."""
        return functional.drop_path(input, self._rate, self.training, self.scale_by_keep, **self._mask_address)

    def extra_repr(self) -> str:
        """As timm's prints itself."""
        return f"drop_prob={round(self.drop_prob, 3):0.3f}"
