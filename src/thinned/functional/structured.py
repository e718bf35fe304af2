"""Dropout of structures: residual branches and blocks of a feature map, with timm's arguments, and attention heads."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from thinned.errors import sentence
from thinned.functional.elementwise import checked_rate, dropout

__all__ = ["drop_block2d", "drop_head", "drop_path", "kept"]


def kept(
    like: torch.Tensor,
    shape: Sequence[int],
    p: float | torch.Tensor,
    key: int | torch.Tensor | None,
    call: int | torch.Tensor,
) -> torch.Tensor:
    """The keep decisions of a mask of ``shape``: bool, on the device of ``like``; p may be a tensor, and batched."""
    with torch.no_grad():
        ones = torch.ones(shape, dtype=torch.float32, device=like.device)
        return dropout(ones, p, key=key, call=call) != 0


def drop_path(
    input: torch.Tensor,
    drop_prob: float | torch.Tensor = 0.0,
    training: bool = False,
    scale_by_keep: bool = True,
    *,
    key: int | torch.Tensor | None = None,
    call: int | torch.Tensor = 0,
) -> torch.Tensor:
    """Drop whole samples of a residual branch (stochastic depth, Huang et al. 2016), with timm's arguments.

    Args:
        input: ``(N, ...)``.
        drop_prob: probability of dropping a sample's branch.
        training: False returns ``input`` itself.
        scale_by_keep: scale survivors by 1 / (1 − p); False leaves them as they are.
        key: 64-bit key; None draws one.
        call: number of the training forward pass.
    """
    p = checked_rate(drop_prob)
    if not training or (not isinstance(p, torch.Tensor) and p == 0):
        return input
    if scale_by_keep:
        return dropout(input, p, shared=range(1, input.ndim), key=key, call=call)
    return torch.where(kept(input, [input.shape[0], *(1,) * (input.ndim - 1)], p, key, call), input, 0)


def drop_block2d(
    input: torch.Tensor,
    drop_prob: float | torch.Tensor = 0.1,
    block_size: int = 7,
    gamma_scale: float = 1.0,
    inplace: bool = False,
    couple_channels: bool = True,
    scale_by_keep: bool = True,
    *,
    training: bool = True,
    key: int | torch.Tensor | None = None,
    call: int | torch.Tensor = 0,
) -> torch.Tensor:
    """Drop square blocks of a feature map (Ghiasi et al. 2018), with timm's arguments.

    Block centres are drawn with probability γ = p·H·W / (b² (H−b+1)(W−b+1)) and grown to blocks. Survivors are scaled
    by elements / survivors of this very mask, as in the paper, so that the mean activation is kept in every call.

    Args:
        input: ``(N, C, H, W)``.
        drop_prob: approximate fraction of the elements to drop.
        block_size: edge length of a block, at most the map's size.
        gamma_scale: multiplies γ.
        inplace: overwrite ``input``.
        couple_channels: all channels share a mask.
        scale_by_keep: scale survivors.
        training: False returns ``input`` itself.
        key: 64-bit key; None draws one.
        call: number of the training forward pass.

    Raises:
        RuntimeError: ``input`` does not have 4 dimensions.
    """
    p = checked_rate(drop_prob)
    if not training or (not isinstance(p, torch.Tensor) and p == 0):
        return input
    if input.ndim != 4:
        raise RuntimeError(
            sentence("drop_block2d needs an input of shape (N, C, H, W)", f"got {input.ndim} dimensions")
        )
    batch, channels, height, width = input.shape
    tall, wide = min(block_size, height), min(block_size, width)
    density = gamma_scale * height * width / (tall * wide) / ((height - tall + 1) * (width - wide + 1))
    gamma = (p * density).clamp(max=1) if isinstance(p, torch.Tensor) else min(p * density, 1.0)
    seeds = ~kept(input, (batch, 1 if couple_channels else channels, height, width), gamma, key, call)
    with torch.no_grad():
        blocks = F.max_pool2d(seeds.float(), (tall, wide), 1, (tall // 2, wide // 2))
        survives = blocks[..., (tall + 1) % 2 :, (wide + 1) % 2 :] == 0
        scale = (
            (survives.numel() / survives.sum(dtype=torch.float64).clamp(min=1)).to(input.dtype)
            if scale_by_keep
            else torch.ones_like(input[:1, :1, :1, :1])
        )
    out = torch.where(survives, input * scale, 0)
    return input.copy_(out) if inplace else out


def drop_head(
    input: torch.Tensor,
    p: float | torch.Tensor = 0.1,
    training: bool = True,
    *,
    key: int | torch.Tensor | None = None,
    call: int | torch.Tensor = 0,
) -> torch.Tensor:
    """Drop whole attention heads, for all samples of the mini-batch (DropHead: Zhou et al. 2020).

    Survivors are scaled by heads / kept heads of this very mask, as in the paper: where a head is kept, the expected
    output is that of all heads. With none kept, it is 0.

    Args:
        input: ``(..., heads, L, E)``: what each head gives, before the output projection.
        p: probability of dropping a head, in [0, 1].
        training: False returns ``input`` itself.
        key: 64-bit key; None draws one.
        call: number of the training forward pass.

    Raises:
        ValueError: ``p`` lies outside [0, 1].
        RuntimeError: ``input`` has fewer than 3 dimensions.

    Example:
        >>> import torch, thinned
        >>> thinned.functional.drop_head(torch.ones(1, 4, 1, 1), p=0.5, key=20).flatten()
        tensor([2., 0., 2., 0.])
    """
    p = checked_rate(p)
    if not training or (not isinstance(p, torch.Tensor) and p == 0):
        return input
    if input.ndim < 3:
        raise RuntimeError(
            sentence("drop_head needs an input of shape (..., heads, L, E)", f"got {input.ndim} dimensions")
        )
    heads = input.shape[-3]
    with torch.no_grad():
        # the axis of samples is there, and shared: processes with a part of the batch each drop the same heads
        ones = torch.ones((1, heads, 1, 1), dtype=torch.float32, device=input.device)
        survives = (dropout(ones, p, shared=(0, 2, 3), key=key, call=call) != 0)[0]
        dtype = torch.float64 if input.dtype is torch.float64 else torch.float32
        count = survives.sum(dtype=torch.float64)
        scale = (torch.full_like(count, heads) / count.clamp(min=1)).to(dtype)
    return torch.where(survives, (input * scale.view(1)).to(input.dtype), 0)
