"""Dropout of whole channels."""

import torch

from thinned import functional
from thinned.layers.dropout import Dropout

__all__ = ["Dropout1d", "Dropout2d", "Dropout3d"]


class Dropout1d(Dropout):
    """Drop-in replacement for ``torch.nn.Dropout1d``: whole channels of sequences (Tompson et al. 2015).

    Neighbouring positions of a feature map say nearly the same, so that element-wise dropout leaves most of the
    information and only lowers the learning rate; dropping the channel does not. Put it after ``Conv1d`` and its
    activation; not on ``(N, T, E)`` sequences of word vectors (there the channel axis comes last: ``LockedDropout``).

    Args:
        p: probability of dropping a channel, in [0, 1].
        inplace: overwrite the input.

    Shape:
        - Input: ``(N, C, L)`` or ``(C, L)``; all of L share a decision.
        - Output: as the input.

    Raises:
        RuntimeError: the input has another number of dimensions.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Drop channels in training, pass ``input`` through in evaluation."""
        return functional.dropout1d(input, self._rate, self.training, self.inplace, **self._mask_address)


class Dropout2d(Dropout):
    """Drop-in replacement for ``torch.nn.Dropout2d``: whole channels of images (Tompson et al. 2015).

    Put it after ``Conv2d`` and its activation, where element-wise dropout regularises little because neighbouring
    pixels repeat each other; not directly before batch norm, and not where channels are few. Like torch's, it takes a
    3D input as ``(N, C, L)``, with a warning; other numbers of dimensions are warned about.

    Args:
        p: probability of dropping a channel, in [0, 1].
        inplace: overwrite the input.

    Shape:
        - Input: ``(N, C, H, W)`` or ``(N, C, L)``; all after C share a decision.
        - Output: as the input.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Drop channels in training, pass ``input`` through in evaluation."""
        return functional.dropout2d(input, self._rate, self.training, self.inplace, **self._mask_address)


class Dropout3d(Dropout):
    """Drop-in replacement for ``torch.nn.Dropout3d``: whole channels of volumes (Tompson et al. 2015).

    Put it after ``Conv3d`` and its activation; not directly before batch norm, and not where channels are few.

    Args:
        p: probability of dropping a channel, in [0, 1].
        inplace: overwrite the input.

    Shape:
        - Input: ``(N, C, D, H, W)`` or ``(C, D, H, W)``; all after C share a decision. Other ranks are warned about.
        - Output: as the input.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Drop channels in training, pass ``input`` through in evaluation."""
        return functional.dropout3d(input, self._rate, self.training, self.inplace, **self._mask_address)
