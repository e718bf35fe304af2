"""Multiplicative Gaussian noise."""

import torch

from thinned import functional
from thinned.errors import check_p, sentence
from thinned.layers.dropout import Dropout

__all__ = ["GaussianDropout"]


class GaussianDropout(Dropout):
    """Multiplicative noise N(1, p / (1 − p)) instead of zeros (Srivastava et al. 2014, §10).

    Mean and variance are those of ``Dropout`` with the same rate; no element is lost. Each element has its own normal.
    Put it where ``Dropout`` would stand and exact zeros hurt; not before anything that needs its input's sign, which
    large rates flip, and not on the output.

    Args:
        p: rate of the dropout that it stands for, in [0, 1).
        inplace: overwrite the input.

    Shape:
        - Input: ``(*)``, any shape; no elements share a normal.
        - Output: ``(*)``, as the input.

    Raises:
        ValueError: ``p`` lies outside [0, 1).
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        if check_p(p) == 1:
            raise ValueError(sentence("p must lie in [0, 1) for Gaussian noise", f"got p={p!r}"))
        super().__init__(p, inplace)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Multiply by noise in training, pass ``input`` through in evaluation."""
        return functional.gaussian_dropout(input, self._rate, self.training, self.inplace, **self._mask_address)
