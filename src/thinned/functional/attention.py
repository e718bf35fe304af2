"""Scaled dot-product attention with dropout on the attention weights."""

import math

import torch
import torch.nn.functional as F

from thinned.errors import check_p, sentence
from thinned.functional.selection import can_select, select
from thinned.functional.structured import drop_head
from thinned.kernels.address import signed
from thinned.ops import Decider, dispatch, placement, torch_private
from thinned.ops.attention import AttentionArgs, attention, attention_weights

__all__ = ["attention_weights", "drop_head_attention", "scaled_dot_product_attention"]


def scaled_dot_product_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float | torch.Tensor = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    dropout_key: int | torch.Tensor | None = None,
    dropout_call: int | torch.Tensor = 0,
) -> torch.Tensor:
    """Drop-in replacement for ``torch.nn.functional.scaled_dot_product_attention``; its dropout has an address.

    Each attention weight is its own decision, at the index ``(batch, head, query, key)``. Like torch's, it drops
    whenever ``dropout_p`` is not 0: pass ``p if self.training else 0.0``. Without dropout, torch's function is called.
    Under autocast, operands are cast as torch casts them.

    Args:
        query: ``(..., L, E)``.
        key: ``(..., S, E)``.
        value: ``(..., S, Ev)``.
        attn_mask: broadcastable to ``(..., L, S)``: bool (True takes part), or float that is added to the scores. A
            query that sees no key gives 0, and gets a gradient of 0.
        dropout_p: probability of dropping a weight.
        is_causal: a query sees the keys up to its own position.
        scale: factor of the scores; None is 1 / sqrt(E).
        enable_gqa: fewer heads of ``key`` and ``value`` serve groups of query heads.
        dropout_key: 64-bit key of the mask; None draws one from torch's default generator.
        dropout_call: number of the training forward pass.

    Returns:
        ``(..., L, Ev)``.

    Raises:
        RuntimeError: shapes or dtypes don't fit, or both ``attn_mask`` and ``is_causal`` are given.
        ValueError: ``dropout_p`` lies outside [0, 1].
    """
    if not isinstance(dropout_p, torch.Tensor):
        dropout_p = check_p(dropout_p)
        if dropout_p == 0.0:
            return F.scaled_dot_product_attention(
                query, key, value, attn_mask, 0.0, is_causal, scale=scale, enable_gqa=enable_gqa
            )
    query, key, value = (_autocast(tensor) for tensor in (query, key, value))
    _check(query, key, value, attn_mask, is_causal)
    needs_weights = _needs_weights(attn_mask, dropout_key)
    query, key, value = _align(query, key, value, enable_gqa, needs_weights)
    _check_mask(attn_mask, (*query.shape[:-1], key.shape[-2]))
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    if needs_weights:
        weights = attention_weights(query, key, attn_mask, is_causal, scale)
        return dispatch.apply(weights, dropout_p, dropout_key, dropout_call).to(value.dtype) @ value
    attn_mask = _shifted(attn_mask)
    drawn = dispatch.draw_key(query) if dropout_key is None else dropout_key
    mask_key, call = (v if isinstance(v, torch.Tensor) else torch.tensor(signed(v)) for v in (drawn, dropout_call))
    p = torch.as_tensor(dropout_p, dtype=torch.float64)
    return attention(AttentionArgs(query, key, value, attn_mask, p, mask_key, call, scale, is_causal))


def drop_head_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    p: float | torch.Tensor = 0.1,
    is_causal: bool = False,
    scale: float | None = None,
    training: bool = True,
    *,
    dropout_key: int | torch.Tensor | None = None,
    dropout_call: int | torch.Tensor = 0,
) -> torch.Tensor:
    """Attention whose dropped heads are not computed: :func:`drop_head` of ``scaled_dot_product_attention``.

    All samples of the mini-batch share the decision of a head (DropHead: Zhou et al. 2020; published code draws for
    each sample, which leaves no head out). Decisions and scaling are those of :func:`drop_head` at the same address.
    Attention weights are not dropped. Under ``torch.func``, ``torch.export`` and ``torch.jit.trace``, all heads are
    computed and masked; ``torch.compile`` breaks the graph at the number of kept heads, or masks where
    ``torch._dynamo.config.capture_dynamic_output_shape_ops`` is True.

    Args:
        query: ``(..., heads, L, E)``.
        key: ``(..., heads, S, E)``.
        value: ``(..., heads, S, Ev)``.
        attn_mask: as in ``torch.nn.functional.scaled_dot_product_attention``.
        p: probability of dropping a head, in [0, 1].
        is_causal: a query sees the keys up to its own position.
        scale: factor of the scores; None is 1 / sqrt(E).
        training: False drops nothing.
        dropout_key: 64-bit key of the mask; None draws one.
        dropout_call: number of the training forward pass.

    Returns:
        ``(..., heads, L, Ev)``; zeros for what is dropped.

    Raises:
        ValueError: ``p`` lies outside [0, 1].
        RuntimeError: query, key and value don't have the same number of heads.
    """
    heads = [tensor.shape[-3] if tensor.ndim > 2 else 0 for tensor in (query, key, value)]
    if len({*heads}) > 1 or not query.ndim > 2:
        requirement = "query, key and value must have the shape (..., heads, L, E) with the same heads"
        raise RuntimeError(sentence(requirement, f"got {', '.join(str(tuple(t.shape)) for t in (query, key, value))}"))
    if not training or not can_select(p, dropout_key) or torch_private.captures_sizes():
        whole = F.scaled_dot_product_attention(query, key, value, attn_mask, 0.0, is_causal, scale=scale)
        return drop_head(whole, p, training, key=dropout_key, call=dropout_call)
    dtype = torch.float64 if query.dtype is torch.float64 else torch.float32
    ones = torch.ones(heads[0], 1, 1, dtype=dtype)  # on the CPU: nobody waits for a device to know the number of heads
    kept = select(drop_head(ones, p, key=dropout_key, call=dropout_call).flatten(), query.device)
    if kept.places.shape[0] == heads[0]:
        return F.scaled_dot_product_attention(query, key, value, attn_mask, 0.0, is_causal, scale=scale)
    if attn_mask is not None and attn_mask.ndim > 2 and attn_mask.shape[-3] > 1:
        attn_mask = attn_mask.index_select(-3, kept.places)
    q, k, v = (tensor.index_select(-3, kept.places) for tensor in (query, key, value))
    output = attend_kept(q, k, v, attn_mask, is_causal, scale, kept.scales)
    shape = (*output.shape[:-3], heads[0], *output.shape[-2:])
    return output.new_zeros(shape).index_copy_(-3, kept.places, output)


def attend_kept(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None,
    is_causal: bool,
    scale: float | None,
    scales: torch.Tensor,
) -> torch.Tensor:
    """Attention of the kept heads, of which there may be none, each multiplied by its scale ``(kept,)``."""
    if query.shape[-3] == 0:  # a tensor of no elements that all three have a part in: their gradients are zeros
        output = query.sum(-1, keepdim=True) + key.sum((-2, -1), keepdim=True) + value.sum(-2, keepdim=True)
        device = query.device.type
        casts = torch.is_autocast_enabled(device) and output.dtype is not torch.float64
        return output.to(torch.get_autocast_dtype(device)) if casts else output
    output = F.scaled_dot_product_attention(query, key, value, attn_mask, 0.0, is_causal, scale=scale)
    return (output * scales.view(-1, 1, 1)).to(output.dtype)


def _needs_weights(attn_mask: torch.Tensor | None, dropout_key: object) -> bool:
    """True where the operator, which never stores the weights, can't serve.

    It has no gradient of the mask, which has the size of the weights anyway; no derivative forward or under
    ``torch.func``; and no part in sharded or enumerated masks.
    """
    if (attn_mask is not None and attn_mask.requires_grad) or isinstance(dropout_key, Decider):
        return True
    if placement() is not None:
        return True
    if torch.compiler.is_compiling():
        return False
    return torch_private.forward_ad_active() or not torch_private.only_vmap_active()


def _autocast(tensor: torch.Tensor) -> torch.Tensor:
    """Cast a floating-point operand as torch's autocast does; float64 stays."""
    device = tensor.device.type
    if not torch.is_autocast_enabled(device) or tensor.dtype == torch.float64:
        return tensor
    return tensor.to(torch.get_autocast_dtype(device))


def _check(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: torch.Tensor | None, is_causal: bool
) -> None:
    if attn_mask is not None and is_causal:
        raise RuntimeError(sentence("attn_mask must be None where is_causal is True", "got both", "merge them"))
    if min(query.ndim, key.ndim, value.ndim) < 2:
        ranks = f"got {query.ndim}, {key.ndim} and {value.ndim}"
        raise RuntimeError(sentence("query, key and value need at least 2 dimensions", ranks))
    if not query.dtype == key.dtype == value.dtype:
        dtypes = f"got {query.dtype}, {key.dtype} and {value.dtype}"
        raise RuntimeError(sentence("query, key and value must have one dtype", dtypes))
    if attn_mask is not None and attn_mask.dtype not in {torch.bool, query.dtype, torch.float32}:
        raise RuntimeError(sentence(f"attn_mask must be bool or {query.dtype}", f"got {attn_mask.dtype}"))
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        shapes = f"got {tuple(query.shape)}, {tuple(key.shape)} and {tuple(value.shape)}"
        raise RuntimeError(sentence("shapes must be (..., L, E), (..., S, E) and (..., S, Ev)", shapes))


def _check_mask(attn_mask: torch.Tensor | None, shape: tuple[int, ...]) -> None:
    if attn_mask is None:
        return
    sizes = zip(reversed(attn_mask.shape), reversed(shape), strict=False)
    if attn_mask.ndim > len(shape) or any(size not in {1, wanted} for size, wanted in sizes):
        requirement = f"attn_mask must be broadcastable to (..., L, S), here {shape}"
        raise RuntimeError(sentence(requirement, f"got {tuple(attn_mask.shape)}"))


def _align(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, enable_gqa: bool, repeat: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Give the three one batch shape.

    With ``enable_gqa``, fewer heads of keys and values stay as they are for the operator; ``repeat`` repeats them.
    """
    end = -2  # of the axes that broadcast
    if enable_gqa:
        heads = query.shape[-3]
        if heads % key.shape[-3] or heads % value.shape[-3]:
            got = f"got {heads} for {key.shape[-3]} and {value.shape[-3]}"
            raise RuntimeError(sentence("query heads must be a multiple of key and value heads", got))
        if repeat or key.shape[-3] != value.shape[-3]:
            key, value = (t.repeat_interleave(heads // t.shape[-3], -3) for t in (key, value))
        else:
            end = -3
    operands = query, key, value
    batch = torch.broadcast_shapes(*(t.shape[:end] for t in operands))  # type: ignore[no-untyped-call]
    query, key, value = (t.expand(*batch, *t.shape[end:]) for t in operands)
    return query, key, value


def _shifted(mask: torch.Tensor | None) -> torch.Tensor | None:
    """An additive mask whose rows have a largest number of 0, which softmax does not see.

    The backward pass keeps the logarithm of a row's sum. It would be lost beside -1e9 in the whole row.
    """
    if mask is None or mask.dtype == torch.bool or not mask.shape[-1:].numel():
        return mask
    wide = mask if mask.dtype.itemsize > 2 else mask.float()
    return wide - wide.amax(-1, keepdim=True).clamp(min=torch.finfo(wide.dtype).min)
