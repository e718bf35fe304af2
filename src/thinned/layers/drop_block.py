"""Dropout of square blocks of a feature map."""

import torch

from thinned import functional
from thinned.layers.drop_path import DropProb

__all__ = ["DropBlock2d"]


class DropBlock2d(DropProb):
    """Drop-in replacement for timm's ``DropBlock2d``: square blocks of a feature map (Ghiasi et al. 2018).

    A contiguous region goes at once, so that neighbouring pixels cannot give the dropped one away. Put it after
    convolutions (and on skip connections) of the last groups of a ResNet, with a rate that grows during training
    (``schedules.linear``); not on maps hardly larger than a block.

    timm's ``with_noise`` is not offered: no published result uses it.

    Args:
        drop_prob: approximate fraction of the elements to drop.
        block_size: edge length of a block; 1 is element-wise.
        gamma_scale: multiplies the density of block centres.
        inplace: overwrite the input.
        couple_channels: all channels share a mask.
        scale_by_keep: scale survivors by elements / survivors.

    Shape:
        - Input: ``(N, C, H, W)``; the elements of a block share a decision.
        - Output: ``(N, C, H, W)``, as the input.

    Raises:
        RuntimeError: in training, the input does not have 4 dimensions.
    """

    def __init__(
        self,
        drop_prob: float = 0.1,
        block_size: int = 7,
        gamma_scale: float = 1.0,
        inplace: bool = False,
        couple_channels: bool = True,
        scale_by_keep: bool = True,
    ) -> None:
        super().__init__(drop_prob)
        self.gamma_scale = gamma_scale
        self.block_size = block_size
        self.inplace = inplace
        self.couple_channels = couple_channels
        self.scale_by_keep = scale_by_keep

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Drop blocks in training, pass ``input`` through in evaluation."""
        return functional.drop_block2d(
            input,
            self._rate,
            self.block_size,
            self.gamma_scale,
            self.inplace,
            self.couple_channels,
            self.scale_by_keep,
            training=self.training,
            **self._mask_address,
        )

    def extra_repr(self) -> str:
        """Rate and block."""
        return f"drop_prob={self.drop_prob}, block_size={self.block_size}"
