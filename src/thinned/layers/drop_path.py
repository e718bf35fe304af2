"""Stochastic depth: of samples and of layers."""

import math
from typing import TypeVar

import torch
from torch import nn

from thinned import functional
from thinned.errors import check_p, sentence
from thinned.layers.base import Addressed

__all__ = ["DropPath", "DropProb", "LayerDrop", "StochasticDepth", "every_other"]

Layers = TypeVar("Layers", nn.ModuleList, nn.Sequential)


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


class LayerDrop(Addressed):
    """A whole layer that the mini-batch skips (LayerDrop: Fan et al. 2020, "Reducing Transformer Depth on Demand").

    All samples share the decision, and a dropped layer is not computed, forward or backward; its parameters get
    gradients of zeros. Nothing is scaled, as in the paper, so that evaluation with all layers is further from the input
    than training was on average: ``StochasticDepth`` scales, and draws for each sample. Put it around each layer of a
    deep stack, its shortcut included, at p = 0.1 to 0.2 to regularise, or at p = 1 − r / n to prune n layers to r
    afterwards (:func:`every_other`); not around a layer without a shortcut.

    Args:
        layer: module whose first argument is the input; it returns one tensor of its shape.
        p: probability of dropping the layer, in [0, 1].

    Shape:
        - Input: ``(*)``, and whatever else the layer takes; the whole mini-batch shares a decision.
        - Output: ``(*)``, as the input.

    Raises:
        ValueError: ``p`` lies outside [0, 1].
        RuntimeError: the layer returns something else than a tensor of the input's shape.
    """

    def __init__(self, layer: nn.Module, p: float = 0.2) -> None:
        super().__init__(p)
        self.layer = layer

    def forward(self, input: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        """The layer's output, or in training the input itself, copied."""
        return functional.layer_drop(input, self.layer, self._rate, self.training, args, kwargs, **self._mask_address)

    def extra_repr(self) -> str:
        """Rate."""
        return f"p={self.p}"


def every_other(layers: Layers, p: float) -> Layers:
    """A shallower stack of the same layers: pruning "Every Other" of Fan et al. (2020, §3.3), at inference.

    Layers whose depth d, counted from 1, is a multiple of floor(1 / p) go. Only shares of 1 / 2, 1 / 3 and so on can be
    reached: p = 0.4 prunes as 0.5 does.

    Args:
        layers: the stack, from the first layer to the last; it stays as it is.
        p: share of the layers to prune, in [0, 0.5].

    Returns:
        A new container of the layers that stay, numbered anew.

    Raises:
        ValueError: ``p`` lies outside [0, 0.5]; the rule would prune all layers above.

    Example:
        >>> import torch, thinned
        >>> stack = torch.nn.Sequential(*(torch.nn.Linear(size, size) for size in range(1, 7)))
        >>> [layer.in_features for layer in thinned.every_other(stack, 0.5)]
        [1, 3, 5]
    """
    if check_p(p) > 0.5:
        raise ValueError(
            sentence("the share of layers to prune must lie in [0, 0.5]", f"got p={p}", "choose the layers yourself")
        )
    period = math.floor(1 / p + 1e-9) if p > 0 else len(layers) + 1  # 1 / (1 / 49) is a little less than 49
    kept = [layer for depth, layer in enumerate(layers, 1) if depth % period]
    return nn.Sequential(*kept) if isinstance(layers, nn.Sequential) else nn.ModuleList(kept)
