"""Scaled dot-product attention with dropout on the attention weights, a block of rows at a time.

The weights are never stored: a block of them is computed, used and computed again in the backward pass. The mask of a
block is a region of the mask of all weights, ``(batch, head, query, key)``, so that the size of the blocks changes no
decision.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from thinned import ops
from thinned._checks import check_p, sentence
from thinned.kernels._address import Region, signed

__all__ = ["attention_weights", "scaled_dot_product_attention"]

_BLOCK = 1 << 18  # weights in a block: two blocks of float32 fit in the second-level caches


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

    Args:
        query: ``(..., L, E)``.
        key: ``(..., S, E)``.
        value: ``(..., S, Ev)``.
        attn_mask: broadcastable to ``(..., L, S)``: bool (True takes part), or float that is added to the scores.
        dropout_p: probability of dropping a weight.
        is_causal: a query sees the keys up to its own position.
        scale: of the scores; None is 1 / sqrt(E).
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
    _check(query, key, value, attn_mask, is_causal)
    query, key, value = _aligned(query, key, value, enable_gqa)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    where = dropout_p, ops.draw_key(query) if dropout_key is None else dropout_key, dropout_call
    wanted = attn_mask is not None and attn_mask.requires_grad  # its gradient has the size of the weights anyway
    if wanted or ops.placement is not None:  # the operator's backward would not know of a placement
        weights = attention_weights(query, key, attn_mask, is_causal, scale)
        return ops.apply(weights, *where) @ value
    return torch.ops.thinned.attention(  # type: ignore[no-any-return]
        query, key, value, attn_mask, *_tensors(*where), scale, is_causal
    )


def attention_weights(
    query: torch.Tensor, key: torch.Tensor, attn_mask: torch.Tensor | None, is_causal: bool, scale: float
) -> torch.Tensor:
    """Softmax of the masked scores, ``(..., L, S)``, by differentiable torch operations; rows without a key are 0."""
    scores = (query * scale) @ key.mT
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
    if attn_mask is None:
        return scores.softmax(-1)
    scores = scores.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
    return scores.softmax(-1).masked_fill(scores.amax(-1, keepdim=True) == -math.inf, 0)


def _tensors(
    p: float | torch.Tensor, key: int | torch.Tensor, call: int | torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """An address as the 0-dim tensors that an operator takes."""
    key, call = (v if isinstance(v, torch.Tensor) else torch.tensor(signed(v)) for v in (key, call))
    return torch.as_tensor(p, dtype=torch.float64), key, call


def _check(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: torch.Tensor | None, is_causal: bool
) -> None:
    if attn_mask is not None and is_causal:
        raise RuntimeError(sentence("attn_mask must be None where is_causal is True", "got both", "merge them"))
    if min(query.ndim, key.ndim, value.ndim) < 2:
        seen = f"got {query.ndim}, {key.ndim} and {value.ndim}"
        raise RuntimeError(sentence("query, key and value need at least 2 dimensions", seen))
    if not query.dtype == key.dtype == value.dtype:
        seen = f"got {query.dtype}, {key.dtype} and {value.dtype}"
        raise RuntimeError(sentence("query, key and value must have one dtype", seen))
    if attn_mask is not None and attn_mask.dtype not in {torch.bool, query.dtype, torch.float32}:
        raise RuntimeError(sentence(f"attn_mask must be bool or {query.dtype}", f"got {attn_mask.dtype}"))
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        seen = f"got {tuple(query.shape)}, {tuple(key.shape)} and {tuple(value.shape)}"
        raise RuntimeError(sentence("shapes must be (..., L, E), (..., S, E) and (..., S, Ev)", seen))


def _aligned(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, enable_gqa: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The three with one batch shape; grouped heads are repeated, as ``enable_gqa`` documents."""
    if enable_gqa:
        if query.shape[-3] % key.shape[-3] or query.shape[-3] % value.shape[-3]:
            seen = f"got {query.shape[-3]} for {key.shape[-3]} and {value.shape[-3]}"
            raise RuntimeError(sentence("query heads must be a multiple of key and value heads", seen))
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    batch = torch.broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])
    return tuple(t.expand(*batch, *t.shape[-2:]) for t in (query, key, value))  # type: ignore[return-value]


class _Block(NamedTuple):
    """Rows ``rows`` of the heads ``heads`` of flattened ``(heads, L, S)`` weights, their first ``keys`` columns."""

    heads: slice
    rows: slice
    keys: int


class _Problem(NamedTuple):
    """The flattened operands; half precision is computed in float32."""

    query: torch.Tensor  # (heads, L, E), scaled
    key: torch.Tensor
    value: torch.Tensor
    mask: torch.Tensor | None  # expanded to (..., 1 or L, S)
    batch: tuple[int, ...]
    address: tuple[torch.Tensor, ...]
    causal: bool

    @classmethod
    def of(
        cls,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        address: tuple[torch.Tensor, ...],
        scale: float,
        causal: bool,
    ) -> "_Problem":
        wide = query.dtype if query.dtype.itemsize > 2 else torch.float32
        batch = tuple(query.shape[:-2])
        if mask is not None:
            mask = mask if mask.dtype == torch.bool else mask.to(wide)
            rows = 1 if mask.ndim < 2 else mask.shape[-2]
            mask = mask.expand(*batch, rows, key.shape[-2])
        q, k, v = (t.reshape(-1, *t.shape[-2:]).to(wide) for t in (query, key, value))
        return cls(q * scale, k, v, mask, batch, address, causal)

    def blocks(self) -> Iterator[_Block]:
        heads, length, _ = self.query.shape
        keys = self.key.shape[1]
        group = max(1, min(heads, _BLOCK // max(length * keys, 1)))
        step = length if group > 1 else max(1, min(length, _BLOCK // max(keys, 1)))
        for h in range(0, heads, group):
            for i in range(0, length, step):
                end = min(i + step, length)
                yield _Block(slice(h, min(h + group, heads)), slice(i, end), min(keys, end) if self.causal else keys)

    def buffer(self) -> torch.Tensor:
        """Room for the weights of one block."""
        sizes = [(b.heads.stop - b.heads.start) * (b.rows.stop - b.rows.start) * b.keys for b in self.blocks()]
        return self.query.new_empty(max(sizes, default=0))

    def view(self, buffer: torch.Tensor, block: _Block) -> torch.Tensor:
        shape = block.heads.stop - block.heads.start, block.rows.stop - block.rows.start, block.keys
        return buffer[: math.prod(shape)].view(shape)

    def weights(self, block: _Block, out: torch.Tensor) -> torch.Tensor:
        """Softmax of the scores of a block, in ``out``."""
        torch.bmm(self.query[block.heads, block.rows], self.key[block.heads, : block.keys].mT, out=out)
        if self.causal:
            future = torch.ones(out.shape[-2:], dtype=torch.bool).triu_(block.rows.start + 1)
            out.masked_fill_(future, -math.inf)
        if self.mask is None:
            return torch.softmax(out, -1, out=out)
        mask = self._mask(block)
        out.masked_fill_(~mask, -math.inf) if mask.dtype == torch.bool else out.add_(mask)
        empty = out.amax(-1, keepdim=True) == -math.inf
        return torch.softmax(out, -1, out=out).masked_fill_(empty, 0)

    def _mask(self, block: _Block) -> torch.Tensor:
        assert self.mask is not None
        rows = block.rows if self.mask.shape[-2] > 1 else slice(None)
        heads = []
        for head in range(block.heads.start, block.heads.stop):
            place: list[int] = []
            for size in reversed(self.batch):
                head, position = divmod(head, size)  # noqa: PLW2901 - the digits of the head's number
                place.insert(0, position)
            heads.append(self.mask[tuple(place)][rows])
        return torch.stack(heads)

    def drop(self, block: _Block, weights: torch.Tensor, inplace: bool) -> torch.Tensor:
        """Dropout of the weights of a block at their place in the mask of all weights."""
        heads, length, keys = self.query.shape[0], self.query.shape[1], self.key.shape[1]
        region = Region((), (heads * length, keys), (block.heads.start * length + block.rows.start, 0))
        if block.keys == keys:  # whole rows follow each other in the mask
            region = Region((), (heads * length * keys,), (region.start[0] * keys,))
            flat = weights.view(-1)
        else:
            flat = weights.view(-1, block.keys)
        return ops.apply(flat, *self.address, region=region, inplace=inplace).view(weights.shape)


torch.library.define(
    "thinned::attention",
    "(Tensor query, Tensor key, Tensor value, Tensor? mask, Tensor p, Tensor dropout_key, Tensor call, float scale, "
    "bool causal) -> Tensor",
)
torch.library.define(
    "thinned::attention_backward",
    "(Tensor grad, Tensor out, Tensor query, Tensor key, Tensor value, Tensor? mask, Tensor p, Tensor dropout_key, "
    "Tensor call, float scale, bool causal) -> (Tensor, Tensor, Tensor)",
)


@torch.library.impl("thinned::attention", "CompositeExplicitAutograd")
def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    p: torch.Tensor,
    dropout_key: torch.Tensor,
    call: torch.Tensor,
    scale: float,
    causal: bool,
) -> torch.Tensor:
    problem = _Problem.of(query, key, value, mask, (p, dropout_key, call), scale, causal)
    out = problem.query.new_empty(*problem.query.shape[:2], value.shape[-1])
    buffer = problem.buffer()
    for block in problem.blocks():
        weights = problem.drop(block, problem.weights(block, problem.view(buffer, block)), inplace=True)
        torch.bmm(weights, problem.value[block.heads, : block.keys], out=out[block.heads, block.rows])
    return out.view(*query.shape[:-1], value.shape[-1]).to(query.dtype)


@torch.library.impl("thinned::attention_backward", "CompositeExplicitAutograd")
def _attention_backward(
    grad: torch.Tensor,
    out: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    p: torch.Tensor,
    dropout_key: torch.Tensor,
    call: torch.Tensor,
    scale: float,
    causal: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    problem = _Problem.of(query, key, value, mask, (p, dropout_key, call), scale, causal)
    q, k, v = problem.query, problem.key, problem.value
    grad, out = (t.reshape(*q.shape[:2], -1).to(q.dtype) for t in (grad, out))
    delta = (grad * out).sum(-1, keepdim=True)
    d_query, d_key, d_value = q.new_empty(q.shape), k.new_zeros(k.shape), v.new_zeros(v.shape)
    first, second = problem.buffer(), problem.buffer()
    for block in problem.blocks():
        heads, rows, keys = block
        weights, d_weights = problem.view(first, block), problem.view(second, block)
        problem.weights(block, weights)
        d_weights.copy_(weights)
        dropped = problem.drop(block, d_weights, inplace=True)
        d_value[heads, :keys].baddbmm_(dropped.mT, grad[heads, rows])
        torch.bmm(grad[heads, rows], v[heads, :keys].mT, out=d_weights)
        d_scores = problem.drop(block, d_weights, inplace=True).sub_(delta[heads, rows]).mul_(weights)
        torch.bmm(d_scores, k[heads, :keys], out=d_query[heads, rows])
        d_key[heads, :keys].baddbmm_(d_scores.mT, q[heads, rows])
    d_query.mul_(scale)
    results = zip((d_query, d_key, d_value), (query, key, value), strict=True)
    return tuple(d.view(t.shape).to(t.dtype) for d, t in results)  # type: ignore[return-value]


@torch.library.register_fake("thinned::attention")
def _fake(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: object) -> torch.Tensor:
    return query.new_empty(*query.shape[:-1], value.shape[-1])


@torch.library.register_fake("thinned::attention_backward")
def _fake_backward(
    grad: torch.Tensor, out: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: object
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    *tensors, ctx.scale, ctx.causal = inputs
    ctx.save_for_backward(output, *tensors)  # and no weight


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    grads = torch.ops.thinned.attention_backward(grad, *ctx.saved_tensors, ctx.scale, ctx.causal)
    return *grads, *(None,) * 6


torch.library.register_autograd("thinned::attention", _backward, setup_context=_setup_context)


def _member(value: Any, dim: int | None, member: int) -> Any:
    return value if dim is None else value.select(dim, member)


@torch.library.register_vmap("thinned::attention")
def _vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[torch.Tensor, int]:
    """One member after the other: each is a batch of matrix products already, at its own address."""
    members = (map(_member, args, in_dims, [m] * len(args)) for m in range(info.batch_size))
    return torch.stack([torch.ops.thinned.attention(*member) for member in members]), 0


@torch.library.register_vmap("thinned::attention_backward")
def _vmap_backward(
    info: Any, in_dims: tuple[int | None, ...], *args: Any
) -> tuple[tuple[torch.Tensor, ...], tuple[int, ...]]:
    members = (map(_member, args, in_dims, [m] * len(args)) for m in range(info.batch_size))
    grads = [torch.ops.thinned.attention_backward(*member) for member in members]
    return tuple(torch.stack(part) for part in zip(*grads, strict=True)), (0, 0, 0)
