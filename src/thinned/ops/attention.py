"""``thinned::attention``: scaled dot-product attention with dropout, a block of rows at a time.

The weights are never stored: a block of them is computed, used and computed again in the backward pass. The mask of a
block is a region of the mask of all weights, ``(batch, head, query, key)``, so that the size of the blocks changes no
decision. On a GPU the kernels of :mod:`thinned.kernels.triton.attention` do the same in fast memory.
"""

import importlib
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch

from thinned import philox
from thinned.errors import check_p
from thinned.kernels import native
from thinned.kernels.address import Address, Region, thresholds
from thinned.kernels.attention import AttentionKernels, AttentionProblem
from thinned.ops import dispatch
from thinned.ops.backends import choice
from thinned.ops.torch_private import Context, Inputs, VmapInfo

__all__ = ["AttentionArgs", "attention", "attention_weights"]

_BLOCK = 1 << 18  # weights in a block: two blocks of float32 fit in a core's second-level cache
_THREADED = 1 << 20  # weights: with fewer, making the threads takes longer


class AttentionArgs(NamedTuple):
    """The arguments of ``thinned::attention``, in its order; the three operands have one dtype.

    They have one batch shape, except that key and value may have fewer heads (its last axis), each of them for a
    group of neighbouring query heads.
    """

    query: torch.Tensor  # (..., L, E)
    key: torch.Tensor  # (..., S, E)
    value: torch.Tensor  # (..., S, Ev)
    mask: torch.Tensor | None  # broadcastable to (..., L, S)
    p: torch.Tensor  # 0-dim float64, and the other two 0-dim int64
    dropout_key: torch.Tensor
    call: torch.Tensor
    scale: float
    causal: bool


class AttentionGrads(NamedTuple):
    """The gradient of each argument."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    mask: None = None
    p: None = None
    dropout_key: None = None
    call: None = None
    scale: None = None
    causal: None = None


def attention(args: AttentionArgs) -> torch.Tensor:
    """Call the operator: ``(..., L, Ev)``."""
    out, _ = torch.ops.thinned.attention(*args)
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
    # filled before the softmax and after it: the gradient of a softmax of -inf alone is NaN
    hidden = (scores.detach() == -math.inf).all(-1, keepdim=True)
    return scores.masked_fill(hidden, 0).softmax(-1).masked_fill(hidden, 0)


class _Block(NamedTuple):
    """Rows ``rows`` of the heads ``heads`` of flattened ``(heads, L, S)`` weights, their first ``keys`` columns."""

    heads: slice
    rows: slice
    keys: int


def _repeat_heads(tensor: torch.Tensor, batch: Sequence[int]) -> torch.Tensor:
    """Give each of the query's heads, the last axis of ``batch``, its own keys or values."""
    if tuple(tensor.shape[:-2]) == tuple(batch):
        return tensor
    return tensor.repeat_interleave(batch[-1] // tensor.shape[-3], -3)


def _sum_heads(gradient: torch.Tensor, operand: torch.Tensor) -> torch.Tensor:
    """The gradient of an operand from that of its repeated heads."""
    if gradient.shape == operand.shape:
        return gradient
    heads = operand.shape[-3]
    return gradient.view(*gradient.shape[:-3], heads, -1, *gradient.shape[-2:]).sum(-3)


class _Problem(NamedTuple):
    """The flattened operands; half precision is computed in float32."""

    query: torch.Tensor  # (heads, L, E), scaled
    key: torch.Tensor
    value: torch.Tensor
    mask: torch.Tensor | None  # expanded to (..., 1 or L, S)
    batch: tuple[int, ...]
    args: AttentionArgs

    @classmethod
    def flatten(cls, args: AttentionArgs) -> "_Problem":
        query, mask = args.query, args.mask
        wide = query.dtype if query.dtype.itemsize > 2 else torch.float32
        batch = tuple(query.shape[:-2])
        if mask is not None:
            mask = mask if mask.dtype == torch.bool else mask.to(wide)
            rows = 1 if mask.ndim < 2 else mask.shape[-2]
            mask = mask.expand(*batch, rows, args.key.shape[-2])
        operands = (_repeat_heads(t, batch) for t in (query, args.key, args.value))
        q, k, v = (t.reshape(math.prod(batch), *t.shape[-2:]).to(wide) for t in operands)
        return cls(q * args.scale, k, v, mask, batch, args)

    def blocks(self) -> Iterator[_Block]:
        heads, length, _ = self.query.shape
        keys = self.key.shape[1]
        group = max(1, min(heads, _BLOCK // max(length * keys, 1)))
        step = length if group > 1 else max(1, min(length, _BLOCK // max(keys, 1)))
        for h in range(0, heads, group):
            for i in range(0, length, step):
                end = min(i + step, length)
                yield _Block(
                    slice(h, min(h + group, heads)), slice(i, end), min(keys, end) if self.args.causal else keys
                )

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
            position: list[int] = []
            for size in reversed(self.batch):
                head, digit = divmod(head, size)  # noqa: PLW2901 - the digits of the head's number
                position.insert(0, digit)
            heads.append(mask[tuple(position)][rows])
        return torch.stack(heads)

    def scores(self, block: _Block, out: torch.Tensor) -> torch.Tensor:
        """Scores of a block in ``out``, −∞ where masked."""
        torch.bmm(self.query[block.heads, block.rows], self.key[block.heads, : block.keys].mT, out=out)
        if self.args.causal:
            future = torch.ones(out.shape[-2:], dtype=torch.bool, device=out.device).triu_(block.rows.start + 1)
            out.masked_fill_(future, -math.inf)
        if self.mask is not None:
            mask = self._mask(self.mask, block)
            out.masked_fill_(~mask, -math.inf) if mask.dtype == torch.bool else out.add_(mask)
        return out

    @property
    def _fused(self) -> bool:
        """True where the compiled kernels take the scores: float32 on the CPU."""
        return self.query.is_cpu and self.query.dtype == torch.float32

    def forward(self, block: _Block, scores: torch.Tensor, lse: torch.Tensor) -> None:
        """``scores`` := dropout(softmax(scores)) and ``lse`` := its log-normaliser, ∞ for rows without a key."""
        if self._fused:
            native.attention_forward(scores, lse, *self._mask_position(block))
            return
        torch.logsumexp(scores, -1, out=lse)
        lse.masked_fill_(lse == -math.inf, math.inf)
        self._drop(block, scores.sub_(lse[..., None]).exp_())

    def backward(
        self, block: _Block, scores: torch.Tensor, grads: torch.Tensor, lse: torch.Tensor, delta: torch.Tensor
    ) -> None:
        """``scores`` := dropout(P) with P = softmax(scores); ``grads`` of dropout(P) become those of the scores."""
        if self._fused:
            native.attention_backward(scores, grads, lse, delta, *self._mask_position(block))
            return
        weights = scores.sub_(lse[..., None]).exp_()
        self._drop(block, grads).sub_(delta[..., None]).mul_(weights)
        self._drop(block, weights)

    def _mask_position(self, block: _Block) -> tuple[Address, int, int]:
        """The address, the index of the block's first weight in the mask of all, and the step from row to row."""
        p, key, call = (number.item() for number in (self.args.p, self.args.dropout_key, self.args.call))
        first = (block.heads.start * self.query.shape[1] + block.rows.start) * self.key.shape[1]
        return Address.from_rate(check_p(p), int(key), int(call)), first, self.key.shape[1]

    def _drop(self, block: _Block, weights: torch.Tensor) -> torch.Tensor:
        """Drop a block in place, by its part of the mask of all weights."""
        heads, length, keys = self.query.shape[0], self.query.shape[1], self.key.shape[1]
        region = Region((), (heads * length, keys), (block.heads.start * length + block.rows.start, 0))
        flat = weights.view(weights.shape[0] * weights.shape[1], block.keys)
        dispatch.apply(flat, self.args.p, self.args.dropout_key, self.args.call, region=region, inplace=True)
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


def _triton_kernels(args: AttentionArgs) -> AttentionKernels | None:
    """The Triton kernels where they take the operands; None means blocks of torch's operations."""
    if choice(args.query).impl != "triton":
        return None
    kernels: AttentionKernels = importlib.import_module("thinned.kernels.triton.attention")
    return kernels if kernels.supports(args.query, args.value, args.scale) else None


def _triton_problem(args: AttentionArgs) -> AttentionProblem:
    """No number is read from a device: what lies there, the kernels read."""
    query, key, value, mask, p, mask_key, call, scale, causal = args
    kept = philox.threshold(check_p(p.item())) if p.is_cpu else thresholds(p)
    return AttentionProblem(query, key, value, mask, Address(mask_key, call, kept), scale, causal)


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
def _attention(*inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    args = AttentionArgs(*inputs)
    if (kernels := _triton_kernels(args)) is not None:
        return kernels.attention_forward(_triton_problem(args))
    problem = _Problem.flatten(args)
    out = problem.query.new_empty(*problem.query.shape[:2], args.value.shape[-1])
    lse = problem.query.new_empty(problem.query.shape[:2])

    def work(blocks: Sequence[_Block]) -> None:
        buffer = problem.buffer()
        for block in blocks:
            heads, rows, keys = block
            weights = problem.scores(block, problem.view(buffer, block))
            problem.forward(block, weights, lse[heads, rows])
            torch.bmm(weights, problem.value[heads, :keys], out=out[heads, rows])

    _in_threads(problem, work)
    shape = args.query.shape[:-1]
    return out.view(*shape, args.value.shape[-1]).to(args.query.dtype), lse.view(shape)


@torch.library.impl("thinned::attention_backward", "CompositeExplicitAutograd")
def _attention_backward(
    grad: torch.Tensor, out: torch.Tensor, lse: torch.Tensor, *inputs: Any
) -> tuple[torch.Tensor, ...]:
    args = AttentionArgs(*inputs)
    if (kernels := _triton_kernels(args)) is not None:
        return kernels.attention_backward(grad, out, lse, _triton_problem(args))
    problem = _Problem.flatten(args)
    q, k, v = problem.query, problem.key, problem.value
    grad, out = (t.reshape(*q.shape[:2], v.shape[-1]).to(q.dtype) for t in (grad, out))
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
    d_query.mul_(args.scale)
    results = zip((d_query, d_key, d_value), args[:3], strict=True)
    return tuple(_sum_heads(d.view(*problem.batch, *t.shape[-2:]), t).to(t.dtype) for d, t in results)


@torch.library.register_fake("thinned::attention")  # type: ignore[untyped-decorator]
def _fake(*inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    args = AttentionArgs(*inputs)
    query = args.query
    wide = query.dtype if query.dtype.itemsize > 2 else torch.float32
    return query.new_empty(*query.shape[:-1], args.value.shape[-1]), query.new_empty(query.shape[:-1], dtype=wide)


@torch.library.register_fake("thinned::attention_backward")  # type: ignore[untyped-decorator]
def _fake_backward(_: torch.Tensor, __: torch.Tensor, ___: torch.Tensor, *inputs: Any) -> tuple[torch.Tensor, ...]:
    return tuple(tensor.new_empty(tensor.shape) for tensor in inputs[:3])


def _setup_context(ctx: Context, inputs: Inputs, output: tuple[torch.Tensor, torch.Tensor]) -> None:
    args = AttentionArgs(*inputs)
    ctx.save_for_backward(*output, *args[:7])  # and no weight
    ctx.scale, ctx.causal = args.scale, args.causal


def _backward(ctx: Context, grad: torch.Tensor, _: torch.Tensor | None) -> AttentionGrads:
    out, lse, *tensors = ctx.saved_tensors
    args = AttentionArgs(*(*tensors, ctx.scale, ctx.causal))
    if torch.is_grad_enabled():  # create_graph=True
        return _differentiable_grads(grad, args)
    return AttentionGrads(*torch.ops.thinned.attention_backward(grad, out, lse, *args))


def _differentiable_grads(grad: torch.Tensor, args: AttentionArgs) -> AttentionGrads:
    """The gradients by differentiable operations, for a gradient of the gradient; the weights are stored."""
    wide = args.query.dtype if args.query.dtype.itemsize > 2 else torch.float32
    query, key, value, grad = (_repeat_heads(t, args.query.shape[:-2]).to(wide) for t in (*args[:3], grad))
    weights = attention_weights(query, key, args.mask, args.causal, args.scale)

    def dropped(tensor: torch.Tensor) -> torch.Tensor:
        return dispatch.apply(tensor, args.p, args.dropout_key, args.call)

    d_weights = dropped(grad @ value.mT)
    d_scores = weights * (d_weights - (weights * d_weights).sum(-1, keepdim=True)) * args.scale
    grads = d_scores @ key, d_scores.mT @ query, dropped(weights).mT @ grad
    d_query, d_key, d_value = (_sum_heads(g, t).to(t.dtype) for g, t in zip(grads, args[:3], strict=True))
    return AttentionGrads(d_query, d_key, d_value)


torch.library.register_autograd("thinned::attention", _backward, setup_context=_setup_context)


_Batched = tuple[tuple[torch.Tensor, ...], tuple[int, ...]]  # results, and their axes of members


def _over_members(
    operator: str, info: VmapInfo, in_dims: tuple[int | None, ...], args: Inputs
) -> tuple[tuple[torch.Tensor, ...], tuple[int, ...]]:
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
def _vmap(
    info: VmapInfo, in_dims: tuple[int | None, ...], *args: Any
) -> tuple[tuple[torch.Tensor, ...], tuple[int, ...]]:
    return _over_members("attention", info, in_dims, args)


@torch.library.register_vmap("thinned::attention_backward")  # type: ignore[untyped-decorator]
def _vmap_backward(
    info: VmapInfo, in_dims: tuple[int | None, ...], *args: Any
) -> tuple[tuple[torch.Tensor, ...], tuple[int, ...]]:
    return _over_members("attention_backward", info, in_dims, args)
