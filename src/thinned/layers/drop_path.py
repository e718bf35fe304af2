"""Stochastic depth."""

import torch
from torch import nn

from thinned import functional
from thinned.layers.base import Addressed

__all__ = ["DropPath", "DropProb", "StochasticDepth"]


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


class StochasticDepth(Addressed):
    """``x + drop_path(branch(x))`` whose branch runs on the kept samples only (Huang et al. 2016; as DINOv2 trains).

    The result is that of ``DropPath`` at the same address, and dropped work is not done, forward or backward: a
    training step takes about 1 − p of the branch's time and memory. Where no sample is kept, the branch does not run
    (nor do hooks on it) and its parameters get gradients of zeros. ``schedules.by_depth`` sets rates that grow with
    depth, the linear rule of the paper. Put it around each residual branch, norm and layer scale included; not around a
    branch that mixes samples, such as one with batch norm, which it refuses.

    Args:
        branch: module from ``(n, *)`` to the same shape, each sample by itself.
        p: probability of dropping a sample's branch, in [0, 1].
        scale_by_keep: scale kept branches by 1 / (1 − p).

    Shape:
        - Input: ``(N, *)``; all of a sample share a decision.
        - Output: ``(N, *)``, as the input.

    Raises:
        ValueError: ``p`` lies outside [0, 1]; in training, a batch norm in the branch computes statistics.
    """

    def __init__(self, branch: nn.Module, p: float = 0.5, scale_by_keep: bool = True) -> None:
        super().__init__(p)
        self.branch = branch
        self.scale_by_keep = scale_by_keep

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Add the branch of the kept samples in training, of all in evaluation."""
        return functional.stochastic_depth(
            input, self.branch, self._rate, self.training, self.scale_by_keep, **self._mask_address
        )

    def extra_repr(self) -> str:
        """Rate."""
        return f"p={self.p}"
