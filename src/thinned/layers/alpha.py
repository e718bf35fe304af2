"""Alpha dropout, for networks of SELU units."""

import torch

from thinned import functional
from thinned.layers.dropout import Dropout

__all__ = ["AlphaDropout", "FeatureAlphaDropout"]


class AlphaDropout(Dropout):
    """Drop-in replacement for ``torch.nn.AlphaDropout`` (Klambauer et al. 2017): for networks of SELU units.

    A dropped element takes SELU's most negative value, and an affine map restores mean 0 and variance 1. Each element
    is its own decision. Put it after SELU; after ReLU or GELU, whose activations are not standardised, use ``Dropout``.

    Args:
        p: probability of dropping, in [0, 1].
        inplace: taken for compatibility, and without effect, as in torch.

    Shape:
        - Input: ``(*)``, any shape; no elements share a decision.
        - Output: ``(*)``, as the input.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Drop in training, pass ``input`` through in evaluation."""
        return functional.alpha_dropout(input, self._rate, self.training, **self._mask_address)


class FeatureAlphaDropout(AlphaDropout):
    """Drop-in replacement for ``torch.nn.FeatureAlphaDropout``: ``AlphaDropout`` of whole channels.

    Put it after convolutions with SELU; not after other activations, and not where channels are few.

    Args:
        p: probability of dropping a channel, in [0, 1].
        inplace: taken for compatibility, and without effect, as in torch.

    Shape:
        - Input: ``(N, C, *)``; all after C share a decision.
        - Output: ``(N, C, *)``, as the input.

    Raises:
        RuntimeError: in training, the input has fewer than 2 dimensions.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Drop channels in training, pass ``input`` through in evaluation."""
        return functional.feature_alpha_dropout(input, self._rate, self.training, **self._mask_address)
