"""Scaled dot-product attention with dropout on the attention weights, a block of rows at a time.

The weights are never stored: a block of them is computed, used and computed again in the backward pass. The mask of a
block is a region of the mask of all weights, ``(batch, head, query, key)``, so that the size of the blocks changes no
decision.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from thinned import ops
from thinned.errors import check_p, sentence
from thinned.kernels import native
from thinned.kernels.address import Address, Region, signed

__all__ = ["attention_weights", "scaled_dot_product_attention"]

_BLOCK = 1 << 18  # weights in a block: two blocks of float32 fit in a core's second-level cache
_THREADED = 1 << 20  # weights: with fewer, making the threads takes longer


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
    if wanted or ops.placement() is not None or isinstance(dropout_key, ops.Decider):  # the operator knows neither
        weights = attention_weights(query, key, attn_mask, is_causal, scale)
        return ops.apply(weights, *where) @ value
    out, _ = torch.ops.thinned.attention(query, key, value, attn_mask, *_tensors(*where), scale, is_causal)
    return out  # type: ignore[no-any-return]


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
    batch = torch.broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])  # type: ignore[no-untyped-call]
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

    def _mask(self, mask: torch.Tensor, block: _Block) -> torch.Tensor:
        rows = block.rows if mask.shape[-2] > 1 else slice(None)
        heads = []
        for head in range(block.heads.start, block.heads.stop):
            place: list[int] = []
            for size in reversed(self.batch):
                head, position = divmod(head, size)  # noqa: PLW2901 - the digits of the head's number
                place.insert(0, position)
            heads.append(mask[tuple(place)][rows])
        return torch.stack(heads)

    def scores(self, block: _Block, out: torch.Tensor) -> torch.Tensor:
        """Scores of a block in ``out``, −∞ where masked."""
        torch.bmm(self.query[block.heads, block.rows], self.key[block.heads, : block.keys].mT, out=out)
        if self.causal:
            future = torch.ones(out.shape[-2:], dtype=torch.bool, device=out.device).triu_(block.rows.start + 1)
            out.masked_fill_(future, -math.inf)
        if self.mask is not None:
            mask = self._mask(self.mask, block)
            out.masked_fill_(~mask, -math.inf) if mask.dtype == torch.bool else out.add_(mask)
        return out

    @property
    def _fused(self) -> bool:
        """Whether the compiled kernels take the scores: float32 on the CPU."""
        return self.query.is_cpu and self.query.dtype == torch.float32

    def forward(self, block: _Block, scores: torch.Tensor, lse: torch.Tensor) -> None:
        """``scores`` := dropout(softmax(scores)) and ``lse`` := its log-normaliser, ∞ for rows without a key."""
        if self._fused:
            native.attention_forward(scores, lse, *self._place(block))
            return
        torch.logsumexp(scores, -1, out=lse)
        lse.masked_fill_(lse == -math.inf, math.inf)
        self._drop(block, scores.sub_(lse[..., None]).exp_())

    def backward(
        self, block: _Block, scores: torch.Tensor, grads: torch.Tensor, lse: torch.Tensor, delta: torch.Tensor
    ) -> None:
        """``scores`` := dropout(P) with P = softmax(scores); ``grads`` of dropout(P) become those of the scores."""
        if self._fused:
            native.attention_backward(scores, grads, lse, delta, *self._place(block))
            return
        weights = scores.sub_(lse[..., None]).exp_()
        self._drop(block, grads).sub_(delta[..., None]).mul_(weights)
        self._drop(block, weights)

    def _place(self, block: _Block) -> tuple[Address, int, int]:
        """The address, the index of the block's first weight in the mask of all, and the step from row to row."""
        p, key, call = (number.item() for number in self.address)
        first = (block.heads.start * self.query.shape[1] + block.rows.start) * self.key.shape[1]
        return Address.of(check_p(p), int(key), int(call)), first, self.key.shape[1]

    def _drop(self, block: _Block, weights: torch.Tensor) -> torch.Tensor:
        """Dropout in place of a block, at its place in the mask of all weights."""
        heads, length, keys = self.query.shape[0], self.query.shape[1], self.key.shape[1]
        region = Region((), (heads * length, keys), (block.heads.start * length + block.rows.start, 0))
        ops.apply(weights.view(-1, block.keys), *self.address, region=region, inplace=True)
        return weights


def _in_threads(problem: _Problem, work: Callable[[Sequence[_Block]], None]) -> None:
    """Call ``work`` on the blocks, each thread on heads of its own.

    Ten operations a block, each with threads that wait for each other at its end, would take longer to meet than to
    compute, the more so on a busy machine. Threads are made anew: a forked child has none of its parent's.
    """
    blocks, threads, heads = list(problem.blocks()), torch.get_num_threads(), problem.query.shape[0]
    small = heads * problem.query.shape[1] * problem.key.shape[1] < _THREADED
    if small or min(threads, heads) < 2 or not problem.query.is_cpu:
        work(blocks)
        return
    parts: list[list[_Block]] = [[] for _ in range(min(threads, heads))]
    for block in blocks:
        parts[block.heads.start * len(parts) // heads].append(block)
    inference = torch.is_inference_mode_enabled()

    def run(part: list[_Block]) -> None:
        torch.set_num_threads(1)  # of this thread
        with torch.inference_mode(inference), torch.no_grad():
            work(part)

    try:
        with ThreadPoolExecutor(len(parts)) as pool:
            list(pool.map(run, parts))
    finally:
        torch.set_num_threads(threads)  # also the default of threads to come


torch.library.define(
    "thinned::attention",
    "(Tensor query, Tensor key, Tensor value, Tensor? mask, Tensor p, Tensor dropout_key, Tensor call, float scale, "
    "bool causal) -> (Tensor, Tensor)",
)
torch.library.define(
    "thinned::attention_backward",
    "(Tensor grad, Tensor out, Tensor lse, Tensor query, Tensor key, Tensor value, Tensor? mask, Tensor p, "
    "Tensor dropout_key, Tensor call, float scale, bool causal) -> (Tensor, Tensor, Tensor)",
)


@torch.library.impl("thinned::attention", "CompositeExplicitAutograd")
def _attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, *rest: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    *address, scale, causal = rest
    problem = _Problem.of(query, key, value, mask, tuple(address), scale, causal)
    out = problem.query.new_empty(*problem.query.shape[:2], value.shape[-1])
    lse = problem.query.new_empty(problem.query.shape[:2])

    def work(blocks: Sequence[_Block]) -> None:
        buffer = problem.buffer()
        for block in blocks:
            heads, rows, keys = block
            weights = problem.scores(block, problem.view(buffer, block))
            problem.forward(block, weights, lse[heads, rows])
            torch.bmm(weights, problem.value[heads, :keys], out=out[heads, rows])

    _in_threads(problem, work)
    return out.view(*query.shape[:-1], value.shape[-1]).to(query.dtype), lse.view(query.shape[:-1])


@torch.library.impl("thinned::attention_backward", "CompositeExplicitAutograd")
def _attention_backward(
    grad: torch.Tensor,
    out: torch.Tensor,
    lse: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    *rest: Any,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    *address, scale, causal = rest
    problem = _Problem.of(query, key, value, mask, tuple(address), scale, causal)
    q, k, v = problem.query, problem.key, problem.value
    grad, out = (t.reshape(*q.shape[:2], -1).to(q.dtype) for t in (grad, out))
    lse, delta = lse.view(q.shape[:2]), torch.linalg.vecdot(grad, out)
    d_query, d_key, d_value = q.new_empty(q.shape), k.new_zeros(k.shape), v.new_zeros(v.shape)

    def work(blocks: Sequence[_Block]) -> None:
        first, second = problem.buffer(), problem.buffer()
        for block in blocks:
            heads, rows, keys = block
            dropped, d_scores = problem.scores(block, problem.view(first, block)), problem.view(second, block)
            torch.bmm(grad[heads, rows], v[heads, :keys].mT, out=d_scores)
            problem.backward(block, dropped, d_scores, lse[heads, rows], delta[heads, rows])
            d_value[heads, :keys].baddbmm_(dropped.mT, grad[heads, rows])
            torch.bmm(d_scores, k[heads, :keys], out=d_query[heads, rows])
            d_key[heads, :keys].baddbmm_(d_scores.mT, q[heads, rows])

    _in_threads(problem, work)
    d_query.mul_(scale)
    results = zip((d_query, d_key, d_value), (query, key, value), strict=True)
    return tuple(d.view(t.shape).to(t.dtype) for d, t in results)  # type: ignore[return-value]


@torch.library.register_fake("thinned::attention")  # type: ignore[untyped-decorator]
def _fake(query: torch.Tensor, _: torch.Tensor, value: torch.Tensor, *__: object) -> tuple[torch.Tensor, torch.Tensor]:
    wide = query.dtype if query.dtype.itemsize > 2 else torch.float32
    return query.new_empty(*query.shape[:-1], value.shape[-1]), query.new_empty(query.shape[:-1], dtype=wide)


@torch.library.register_fake("thinned::attention_backward")  # type: ignore[untyped-decorator]
def _fake_backward(*args: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    query, key, value = args[3:6]
    return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, torch.Tensor]) -> None:
    *tensors, ctx.scale, ctx.causal = inputs
    ctx.save_for_backward(*output, *tensors)  # and no weight


def _backward(ctx: Any, grad: torch.Tensor, _: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
    grads = torch.ops.thinned.attention_backward(grad, *ctx.saved_tensors, ctx.scale, ctx.causal)
    return *grads, *(None,) * 6


torch.library.register_autograd("thinned::attention", _backward, setup_context=_setup_context)


def _over_members(operator: str, info: Any, in_dims: tuple[int | None, ...], args: tuple[Any, ...]) -> Any:
    """One member after the other: each is a batch of matrix products already, at its own address."""
    members = [
        getattr(torch.ops.thinned, operator)(
            *(arg if dim is None else arg.select(dim, m) for arg, dim in zip(args, in_dims, strict=True))
        )
        for m in range(info.batch_size)
    ]
    parts = tuple(torch.stack(part) for part in zip(*members, strict=True))
    return parts, (0,) * len(parts)


@torch.library.register_vmap("thinned::attention")  # type: ignore[untyped-decorator]
def _vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
    return _over_members("attention", info, in_dims, args)


@torch.library.register_vmap("thinned::attention_backward")  # type: ignore[untyped-decorator]
def _vmap_backward(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
    return _over_members("attention_backward", info, in_dims, args)
