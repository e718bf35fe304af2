"""Stateless variants of dropout: which axes share a decision, and what the decision is taken on.

Each is built on :mod:`thinned.functional`, so that its mask is a pure function of ``(key, call, index)`` as that of
``functional.dropout`` is. ``p`` may be a 0-dim float64 tensor, ``key`` and ``call`` 0-dim int64 tensors, wherever a
rate or an address is to change without a recompile.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from thinned import functional, masks, ops
from thinned.errors import check_p, sentence
from thinned.kernels import aten
from thinned.kernels.address import signed

__all__ = [
    "Key",
    "Number",
    "concrete_dropout",
    "drop_block2d",
    "drop_path",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "embedding",
    "feature_alpha_dropout",
    "spatial_dropout",
    "word_dropout",
]

Number = float | torch.Tensor
Key = int | torch.Tensor | None


def _checked(p: Number) -> Number:
    return p if isinstance(p, torch.Tensor) else check_p(p)


def _kept(like: torch.Tensor, shape: Sequence[int], p: Number, key: Key, call: int | torch.Tensor) -> torch.Tensor:
    """The keep decisions of a mask of ``shape`` on the device of ``like``, bool; p may be a tensor, and batched."""
    with torch.no_grad():
        ones = torch.ones(shape, dtype=torch.float32, device=like.device)
        return functional.dropout(ones, p, key=key, call=call) != 0


_ARTICLE = {1: "1 spatial dimension", 2: "2 spatial dimensions", 3: "3 spatial dimensions"}


def _check_rank(x: torch.Tensor, dims: int, stacklevel: int) -> None:
    """The errors and warnings of torch's ``F.dropout1d``, ``2d`` and ``3d``, in evaluation too."""
    name, rank = f"dropout{dims}d", x.ndim
    purpose = (
        f"{name} exists for channel-wise dropout on inputs with {_ARTICLE[dims]}, a channel dimension and an optional "
        f"batch dimension ({dims + 1}D or {dims + 2}D)"
    )
    if rank in (dims + 1, dims + 2):
        if dims == 2 and rank == 3:
            warnings.warn(
                "dropout2d: Received a 3D input to dropout2d, interpreted as (N, C, L) with channel-wise 1D dropout, "
                "as torch.nn.functional.dropout2d does; use dropout1d to keep that, dropout3d for unbatched (C, H, W)",
                stacklevel=stacklevel,
            )
    elif dims == 1:
        raise RuntimeError(sentence("dropout1d: Expected 2D or 3D input", f"but received a {rank}D input", purpose))
    else:
        warnings.warn(
            f"{name}: Received a {rank}-D input to {name}, which is deprecated in torch; use dropout: {purpose}",
            stacklevel=stacklevel,
        )


def spatial_dropout(
    dims: int,
    x: torch.Tensor,
    p: Number = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    key: Key = None,
    call: int | torch.Tensor = 0,
    stacklevel: int = 3,
) -> torch.Tensor:
    """Drop whole channels of a feature map with ``dims`` spatial dimensions (Tompson et al. 2015).

    Inputs of unusual rank are taken, refused or warned about as torch's ``dropout1d``, ``2d`` and ``3d`` do.

    Args:
        dims: 1, 2 or 3.
        x: ``(N, C, *spatial)``, or ``(C, *spatial)`` for 1 and 3.
        p: probability of dropping a channel.
        training: False returns ``x`` itself.
        inplace: overwrite ``x``.
        key: 64-bit key; None draws one.
        call: number of the training forward pass.
        stacklevel: of warnings.

    Raises:
        RuntimeError: the rank does not fit (1d), or ``x`` is not floating-point.
    """
    p = _checked(p)
    _check_rank(x, dims, stacklevel + 1)
    if not training:
        return x
    batched = x.ndim == dims + 2 or dims == 2  # torch's dropout2d takes no unbatched input
    if x.ndim < 1 + batched:
        raise RuntimeError(sentence(f"dropout{dims}d needs at least {1 + batched} dimensions", f"got {x.ndim}"))
    return functional.dropout(x, p, True, inplace, shared=range(1 + batched, x.ndim), key=key, call=call)


def dropout1d(
    x: torch.Tensor, p: Number = 0.5, training: bool = True, inplace: bool = False, **address: Any
) -> torch.Tensor:
    """:func:`spatial_dropout` of ``(N, C, L)`` or ``(C, L)``; ``key=`` and ``call=`` as there."""
    return spatial_dropout(1, x, p, training, inplace, **address)


def dropout2d(
    x: torch.Tensor, p: Number = 0.5, training: bool = True, inplace: bool = False, **address: Any
) -> torch.Tensor:
    """:func:`spatial_dropout` of ``(N, C, H, W)``; ``key=`` and ``call=`` as there."""
    return spatial_dropout(2, x, p, training, inplace, **address)


def dropout3d(
    x: torch.Tensor, p: Number = 0.5, training: bool = True, inplace: bool = False, **address: Any
) -> torch.Tensor:
    """:func:`spatial_dropout` of ``(N, C, D, H, W)`` or ``(C, D, H, W)``; ``key=`` and ``call=`` as there."""
    return spatial_dropout(3, x, p, training, inplace, **address)


def feature_alpha_dropout(
    x: torch.Tensor, p: Number = 0.5, training: bool = False, inplace: bool = False, **address: Any
) -> torch.Tensor:
    """``functional.alpha_dropout`` of whole channels of ``(N, C, ...)``; ``key=`` and ``call=`` as there.

    Raises:
        RuntimeError: in training, ``x`` has fewer than 2 dimensions.
    """
    p = _checked(p)
    if training and x.ndim < 2:
        raise RuntimeError(sentence("Feature dropout requires at least 2 dimensions in the input", f"got {x.ndim}"))
    return functional.alpha_dropout(x, p, training, inplace, shared=range(2, x.ndim), **address)


def drop_path(
    x: torch.Tensor,
    drop_prob: Number = 0.0,
    training: bool = False,
    scale_by_keep: bool = True,
    *,
    key: Key = None,
    call: int | torch.Tensor = 0,
) -> torch.Tensor:
    """Drop whole samples of a residual branch (stochastic depth, Huang et al. 2016), with timm's arguments.

    Args:
        x: ``(N, ...)``.
        drop_prob: probability of dropping a sample's branch.
        training: False returns ``x`` itself.
        scale_by_keep: scale survivors by 1 / (1 − p); False leaves them as they are.
        key: 64-bit key; None draws one.
        call: number of the training forward pass.
    """
    p = _checked(drop_prob)
    if not training or (not isinstance(p, torch.Tensor) and p == 0):
        return x
    if scale_by_keep:
        return functional.dropout(x, p, shared=range(1, x.ndim), key=key, call=call)
    return torch.where(_kept(x, [x.shape[0], *(1,) * (x.ndim - 1)], p, key, call), x, 0)


def word_dropout(
    x: torch.Tensor,
    p: Number = 0.1,
    training: bool = True,
    unk_index: int | None = None,
    padding_idx: int | None = None,
    *,
    key: Key = None,
    call: int | torch.Tensor = 0,
) -> torch.Tensor:
    """Drop whole words: token numbers become ``unk_index``, or word vectors become 0 and the rest are scaled.

    Args:
        x: integer token numbers of any shape (Bowman et al. 2016), or word vectors ``(..., embedding)`` (Iyyer et al.
            2015).
        p: probability of dropping a word.
        training: False returns ``x`` itself.
        unk_index: what stands for a dropped token number.
        padding_idx: a token number that is never dropped.
        key: 64-bit key; None draws one.
        call: number of the training forward pass.

    Raises:
        ValueError: token numbers are given, and no ``unk_index``.
    """
    p = _checked(p)
    if not training:
        return x
    if x.is_floating_point():
        return functional.dropout(x, p, shared=(-1,), key=key, call=call)
    if unk_index is None:
        raise ValueError(
            sentence("token numbers need unk_index, what a dropped word becomes", f"got {x.dtype} and unk_index=None")
        )
    kept = _kept(x, x.shape, p, key, call)
    return torch.where(kept if padding_idx is None else kept | (x == padding_idx), x, unk_index)


def embedding(
    x: torch.Tensor,
    weight: torch.Tensor,
    p: Number = 0.1,
    training: bool = True,
    *,
    key: Key = None,
    call: int | torch.Tensor = 0,
    **options: Any,
) -> torch.Tensor:
    """Look up rows of a table of which whole rows are dropped (Gal & Ghahramani 2016, Merity et al. 2018).

    A word is dropped wherever it stands in the batch; its row's number is the index of the decision. Only rows that are
    looked up are touched.

    Args:
        x: integer row numbers of any shape.
        weight: ``(rows, embedding)``.
        p: probability of dropping a row.
        training: False looks the rows up unchanged.
        key: 64-bit key; None draws one.
        call: number of the training forward pass.
        options: of ``torch.nn.functional.embedding``: ``padding_idx``, ``max_norm``, ``norm_type``,
            ``scale_grad_by_freq``, ``sparse``.

    Returns:
        ``(*x.shape, embedding)``.
    """
    p = _checked(p)
    out = F.embedding(x, weight, **options)
    if not training:
        return out
    with torch.no_grad():
        wide = torch.float64 if weight.dtype == torch.float64 else torch.float32  # half precision is rounded once
        ones = torch.ones((weight.shape[0], 1), dtype=wide, device=weight.device)
        factor = F.embedding(x, functional.dropout(ones, p, key=key, call=call))
    return torch.where(factor != 0, (out * factor).to(out.dtype), 0)


def drop_block2d(
    x: torch.Tensor,
    drop_prob: Number = 0.1,
    block_size: int = 7,
    gamma_scale: float = 1.0,
    inplace: bool = False,
    couple_channels: bool = True,
    scale_by_keep: bool = True,
    *,
    training: bool = True,
    key: Key = None,
    call: int | torch.Tensor = 0,
) -> torch.Tensor:
    """Drop square blocks of a feature map (Ghiasi et al. 2018), with timm's arguments.

    Block centres are drawn with probability γ = p·H·W / (b² (H−b+1)(W−b+1)) and grown to blocks. Survivors are scaled
    by elements / survivors of this very mask, as in the paper, so that the mean activation is kept in every call.

    Args:
        x: ``(N, C, H, W)``.
        drop_prob: the share of elements to drop, about.
        block_size: edge of a block, cut to the map's size.
        gamma_scale: multiplies γ.
        inplace: overwrite ``x``.
        couple_channels: all channels share a mask.
        scale_by_keep: scale survivors.
        training: False returns ``x`` itself.
        key: 64-bit key; None draws one.
        call: number of the training forward pass.

    Raises:
        RuntimeError: ``x`` does not have 4 dimensions.
    """
    p = _checked(drop_prob)
    if not training or (not isinstance(p, torch.Tensor) and p == 0):
        return x
    if x.ndim != 4:
        raise RuntimeError(sentence("drop_block2d needs an input of shape (N, C, H, W)", f"got {x.ndim} dimensions"))
    batch, channels, height, width = x.shape
    tall, wide = min(block_size, height), min(block_size, width)
    share = gamma_scale * height * width / (tall * wide) / ((height - tall + 1) * (width - wide + 1))
    gamma = (p * share).clamp(max=1) if isinstance(p, torch.Tensor) else min(p * share, 1.0)
    seeds = ~_kept(x, (batch, 1 if couple_channels else channels, height, width), gamma, key, call)
    with torch.no_grad():
        blocks = F.max_pool2d(seeds.float(), (tall, wide), 1, (tall // 2, wide // 2))
        kept = blocks[..., (tall + 1) % 2 :, (wide + 1) % 2 :] == 0
        scale = (
            (kept.numel() / kept.sum(dtype=torch.float64).clamp(min=1)).to(x.dtype)
            if scale_by_keep
            else torch.ones_like(x[:1, :1, :1, :1])
        )
    out = torch.where(kept, x * scale, 0)
    return x.copy_(out) if inplace else out


def concrete_dropout(
    x: torch.Tensor,
    p: Number,
    training: bool = True,
    temperature: float = 0.1,
    *,
    shared: Sequence[int] = (),
    key: Key = None,
    call: int | torch.Tensor = 0,
) -> torch.Tensor:
    """Dropout relaxed so that its rate can be learned (Gal, Hron & Kendall 2017, equation 5).

    The mask is 1 − sigmoid((logit p + logit u) / temperature), u being the 16 random bits that dropout would compare
    with its threshold: a decision made soft, at the same address. It is differentiable in ``p``; as the temperature
    goes to 0, it is ``functional.dropout``.

    Args:
        x: floating-point tensor of any shape.
        p: probability of dropping, strictly between 0 and 1; usually a tensor that requires a gradient.
        training: False returns ``x`` itself.
        temperature: of the relaxation.
        shared: axes that share a decision.
        key: 64-bit key; None draws one.
        call: number of the training forward pass.
    """
    if not training:
        return x
    wide = x.dtype if x.dtype.itemsize > 2 else torch.float32
    axes = masks.shared_axes(shared, x.ndim)
    small = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    drawn = ops.draw_key(x) if key is None else key
    drawn, call = (v if isinstance(v, torch.Tensor) else torch.tensor(signed(v)) for v in (drawn, call))
    lanes = aten.lanes(math.prod(small), drawn, call).reshape(small).to(x.device)
    logit_u = torch.logit((65535.5 - lanes.to(torch.float64)) / 65536).to(wide)  # high bits are those that drop
    p = torch.as_tensor(p, device=x.device).to(wide)
    dropped = torch.sigmoid((torch.logit(p) - logit_u) / temperature)
    return (x * ((1 - dropped) / (1 - p))).to(x.dtype)
