"""The forward kernel of attention with dropout (FlashAttention-2: Dao 2023), its mask drawn by address."""

import triton
import triton.language as tl

from thinned.kernels.triton.address import ARGUMENTS, load_address
from thinned.kernels.triton.attention.tiles import (
    block_of_head,
    group_decisions,
    keep_shifted,
    keep_tile,
    load_rows,
    mask_scores,
    product,
    store_rows,
    tile_keys,
)
from thinned.kernels.triton.bits import keep_limit

__all__ = ["forward_kernel"]

_NUMBERS = [name for name in ARGUMENTS if not name.endswith("_step")]


@triton.jit
def _attend(
    out, total, top, q, k, v, mask, queries, first, begin, end, k_stride, v_stride, mask_query, mask_key,
    query_count, key_count, scale, key_low, key_high, call_low, call_high, limit, nothing,
    E: tl.constexpr, EV: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_EV: tl.constexpr, KEYS: tl.constexpr,
    MASK: tl.constexpr, CAUSAL: tl.constexpr, ALIGNED: tl.constexpr, PRECISION: tl.constexpr, PARTIAL: tl.constexpr,
):  # fmt: skip
    """Add the tiles ``begin`` to ``end`` to the output, its denominator and the largest score of each query."""
    if not ALIGNED:
        packed = group_decisions(first, begin, key_low, key_high, call_low, call_high, limit, KEYS)
    for number in tl.range(begin, end):
        keys = tile_keys(number, KEYS)
        k_tile = load_rows(k, keys, k_stride, key_count, E, BLOCK_E, PARTIAL)
        scores = product(q, tl.trans(k_tile), PRECISION=PRECISION)
        scores = mask_scores(
            scores, mask, queries[:, None], keys[None, :], mask_query, mask_key, query_count, key_count, scale,
            MASK, CAUSAL, PARTIAL,
        )  # fmt: skip
        factor = 1.0 if MASK == "float" else scale
        higher = tl.maximum(top, tl.max(scores, 1) * factor)
        # a query that has seen no key yet: -inf - -inf would be NaN
        base = tl.where(higher == float("-inf"), 0.0, higher) if MASK != "none" else higher
        weights = tl.math.exp2(scores * factor - base[:, None])
        shrink = tl.math.exp2(top - base)
        total = total * shrink + tl.sum(weights, 1)
        if ALIGNED:
            keep = keep_tile(first, number, key_low, key_high, call_low, call_high, limit, KEYS, ALIGNED)
        else:
            keep, packed = keep_shifted(first, number, packed, key_low, key_high, call_low, call_high, limit, KEYS)
        weights = tl.where(keep, weights, nothing)
        v_tile = load_rows(v, keys, v_stride, key_count, EV, BLOCK_EV, PARTIAL)
        out = product(weights.to(v_tile.dtype), v_tile, out * shrink[:, None], PRECISION=PRECISION)
        top = higher
    return out, total, top


@triton.jit(do_not_specialize=_NUMBERS)
def forward_kernel(
    q, k, v, mask, out, lse,
    key, call, keep, key_low, key_high, call_low, call_high, keep_number,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row,
    mask_batch, mask_head, mask_query, mask_key, heads, group, query_count, key_count, scale,
    E: tl.constexpr, EV: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_EV: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr,
    MASK: tl.constexpr, CAUSAL: tl.constexpr, ALIGNED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Attend from ``QUERIES`` queries of one head: one program a block of queries."""
    block, number = block_of_head(tl.cdiv(query_count, QUERIES), CAUSAL)
    batch, head = number // heads, number % heads
    queries = block * QUERIES + tl.arange(0, QUERIES)
    rows = number * query_count + queries
    first = rows * key_count
    key_low, key_high, call_low, call_high, kept = load_address(
        key, call, keep, 0, 0, key_low, key_high, call_low, call_high, keep_number, 0
    )
    limit, _ = keep_limit(kept)  # where nothing is kept, the factor of survivors is 0
    # 0, unknown to the compiler: by a constant it would choose after rounding, one 16-bit half after the other
    nothing = tl.minimum(kept, 0).to(tl.float32)
    k += batch * k_batch + (head // group) * k_head
    v += batch * v_batch + (head // group) * v_head
    if MASK != "none":
        mask += batch * mask_batch + head * mask_head
    q_tile = load_rows(q + batch * q_batch + head * q_head, queries, q_row, query_count, E, BLOCK_E, True)

    parts: tl.constexpr = 128 // KEYS
    seen = tl.minimum(key_count, (block + 1) * QUERIES) if CAUSAL else key_count
    whole = tl.minimum(key_count, block * QUERIES + 1) // 128 * parts if CAUSAL else key_count // 128 * parts
    end = tl.cdiv(seen, 128) * parts
    acc = tl.zeros((QUERIES, BLOCK_EV), tl.float32)
    total = tl.zeros((QUERIES,), tl.float32)
    top = tl.full((QUERIES,), float("-inf"), tl.float32)
    acc, total, top = _attend(
        acc, total, top, q_tile, k, v, mask, queries, first, 0, whole, k_row, v_row, mask_query, mask_key,
        query_count, key_count, scale, key_low, key_high, call_low, call_high, limit, nothing,
        E, EV, BLOCK_E, BLOCK_EV, KEYS, MASK, CAUSAL, ALIGNED, PRECISION, False,
    )  # fmt: skip
    if CAUSAL or not ALIGNED:
        acc, total, top = _attend(
            acc, total, top, q_tile, k, v, mask, queries, first, whole, end, k_row, v_row, mask_query, mask_key,
            query_count, key_count, scale, key_low, key_high, call_low, call_high, limit, nothing,
            E, EV, BLOCK_E, BLOCK_EV, KEYS, MASK, CAUSAL, ALIGNED, PRECISION, True,
        )  # fmt: skip

    empty = total == 0.0
    survivors = tl.where(kept > 0, 65536.0 / tl.maximum(kept, 1).to(tl.float32), 0.0)
    acc = acc * (survivors / tl.where(empty, 1.0, total))[:, None]
    inside = queries < query_count
    store_rows(out, rows, acc, inside, EV, BLOCK_EV)
    log = tl.where(empty, float("inf"), (top + tl.math.log2(tl.where(empty, 1.0, total))) * 0.6931471805599453)
    tl.store(lse + rows, log, mask=inside)
