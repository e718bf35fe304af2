"""Dropout of the connections of a weight."""

import torch
from torch import nn
from torch.nn.utils import parametrize

from thinned import functional
from thinned.layers.base import Addressed

__all__ = ["DropConnect", "drop_connect"]


class DropConnect(Addressed):
    """Dropout of a weight instead of an activation (Wan et al. 2013), as a parametrisation of any weight.

    The mask is shared by all samples of a mini-batch (in the paper every sample has its own). Put it on the weights of
    fully connected layers, or on the recurrent weights of an RNN (AWD-LSTM, Merity et al. 2018), by
    :func:`drop_connect`; not on biases or norms. (What EfficientNet calls drop connect is ``DropPath``.)

    In drawn mode each access to the weight draws a new mask; ``torch.nn.utils.parametrize.cached()`` keeps one.

    Args:
        p: probability of dropping a connection, in [0, 1].

    Shape:
        - Input: a weight ``(*)``; all samples of the mini-batch share its decisions.
        - Output: ``(*)``, as the weight.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight with connections dropped in training."""
        return functional.drop_connect(weight, self._rate, self.training, **self._mask_address)

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        """Assigning to the parametrised weight sets it whole."""
        return weight

    def extra_repr(self) -> str:
        """Rate."""
        return f"p={self.p}"


def drop_connect(module: nn.Module, name: str = "weight", p: float = 0.5) -> nn.Module:
    """Register :class:`DropConnect` on the parameter ``name`` of ``module``, and return the module.

    The parameter moves to ``parametrizations.<name>.original``, as with every parametrisation of torch;
    ``torch.nn.utils.parametrize.remove_parametrizations`` (in evaluation) takes it off again.

    Example:
        >>> import torch, thinned
        >>> layer = thinned.layers.drop_connect(torch.nn.Linear(3, 2), p=0.5)
        >>> layer.eval()(torch.ones(1, 3)).shape
        torch.Size([1, 2])
    """
    training = module.training
    site = DropConnect(p).eval()  # registering evaluates it once: no draw, no noise
    parametrize.register_parametrization(module, name, site)
    module.train(training)
    return module
