"""The backward kernels of attention with dropout: the mask is drawn again, at the addresses of the forward pass.

With ``P`` the softmax, ``D`` the mask of 0 and ``s`` (the inverse of the keep probability) and ``O = (D P) V``:

    dV = (D P)' dO    dS = P (D (dO V') - delta)    delta = rowsum(O dO)    dQ = scale dS K    dK = scale dS' Q

The factor ``s`` is taken out of all of them: the kernels work with ``delta / s`` and multiply their results at the end.
"""

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

__all__ = ["delta_kernel", "key_value_kernel", "query_kernel"]

_NUMBERS = [name for name in ARGUMENTS if not name.endswith("_step")]


@triton.jit(do_not_specialize=["keep_number"])
def delta_kernel(
    out, grad, delta, keep, keep_number, grad_batch, grad_head, grad_row, heads, query_count,
    EV: tl.constexpr, BLOCK_EV: tl.constexpr, QUERIES: tl.constexpr,
):  # fmt: skip
    """The sum of output times gradient over each query's ``EV`` values, times the keep probability."""
    block, number = block_of_head(tl.cdiv(query_count, QUERIES), False)
    queries = block * QUERIES + tl.arange(0, QUERIES)
    batch, head = number // heads, number % heads
    gradient = load_rows(
        grad + batch * grad_batch + head * grad_head, queries, grad_row, query_count, EV, BLOCK_EV, True
    )
    output = load_rows(out + number * query_count * EV, queries, EV, query_count, EV, BLOCK_EV, True)
    total = tl.sum(output.to(tl.float32) * gradient.to(tl.float32), 1)
    kept = keep_number.to(tl.int64)
    if keep is not None:
        kept = tl.load(keep)
    total *= kept.to(tl.float32) * (1.0 / 65536.0)
    tl.store(delta + number * query_count + queries, total, mask=queries < query_count)


@triton.jit
def _add_to_query(
    d_query, q, grad, lse, delta, k, v, mask, queries, first, begin, end, k_stride, v_stride, mask_query, mask_key,
    query_count, key_count, scale, key_low, key_high, call_low, call_high, limit,
    E: tl.constexpr, EV: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_EV: tl.constexpr, KEYS: tl.constexpr,
    MASK: tl.constexpr, CAUSAL: tl.constexpr, ALIGNED: tl.constexpr, PRECISION: tl.constexpr, PARTIAL: tl.constexpr,
):  # fmt: skip
    """Add the tiles of keys ``begin`` to ``end`` to a block's gradient of the queries."""
    factor = 1.0 if MASK == "float" else scale
    if not ALIGNED:
        packed = group_decisions(first, begin, key_low, key_high, call_low, call_high, limit, KEYS)
    for number in tl.range(begin, end):
        keys = tile_keys(number, KEYS)
        k_tile = load_rows(k, keys, k_stride, key_count, E, BLOCK_E, PARTIAL)
        v_tile = load_rows(v, keys, v_stride, key_count, EV, BLOCK_EV, PARTIAL)
        scores = product(q, tl.trans(k_tile), PRECISION=PRECISION)
        scores = mask_scores(
            scores, mask, queries[:, None], keys[None, :], mask_query, mask_key, query_count, key_count, scale,
            MASK, CAUSAL, PARTIAL,
        )  # fmt: skip
        weights = tl.math.exp2(scores * factor - lse[:, None])
        d_weights = product(grad, tl.trans(v_tile), PRECISION=PRECISION)
        if ALIGNED:
            keep = keep_tile(first, number, key_low, key_high, call_low, call_high, limit, KEYS, ALIGNED)
        else:
            keep, packed = keep_shifted(first, number, packed, key_low, key_high, call_low, call_high, limit, KEYS)
        d_scores = weights * (tl.where(keep, d_weights, 0.0) - delta[:, None])
        d_query = product(d_scores.to(k_tile.dtype), k_tile, d_query, PRECISION=PRECISION)
    return d_query


@triton.jit(do_not_specialize=_NUMBERS)
def query_kernel(
    q, k, v, mask, grad, lse, delta, d_query,
    key, call, keep, key_low, key_high, call_low, call_high, keep_number,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row, grad_batch, grad_head, grad_row,
    mask_batch, mask_head, mask_query, mask_key, heads, group, query_count, key_count, scale,
    E: tl.constexpr, EV: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_EV: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr,
    MASK: tl.constexpr, CAUSAL: tl.constexpr, ALIGNED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The gradient of ``QUERIES`` queries of one head: one program a block of queries."""
    block, number = block_of_head(tl.cdiv(query_count, QUERIES), CAUSAL)
    batch, head = number // heads, number % heads
    queries = block * QUERIES + tl.arange(0, QUERIES)
    inside = queries < query_count
    rows = number * query_count + queries
    key_low, key_high, call_low, call_high, kept = load_address(
        key, call, keep, 0, 0, key_low, key_high, call_low, call_high, keep_number, 0
    )
    limit, _ = keep_limit(kept)  # where nothing is kept, the factor of survivors is 0
    k += batch * k_batch + (head // group) * k_head
    v += batch * v_batch + (head // group) * v_head
    if MASK != "none":
        mask += batch * mask_batch + head * mask_head
    q_tile = load_rows(q + batch * q_batch + head * q_head, queries, q_row, query_count, E, BLOCK_E, True)
    grad += batch * grad_batch + head * grad_head
    grad_tile = load_rows(grad, queries, grad_row, query_count, EV, BLOCK_EV, True)
    log = tl.load(lse + rows, mask=inside, other=float("inf")) * 1.4426950408889634
    row_delta = tl.load(delta + rows, mask=inside, other=0.0)

    parts: tl.constexpr = 128 // KEYS
    seen = tl.minimum(key_count, (block + 1) * QUERIES) if CAUSAL else key_count
    whole = tl.minimum(key_count, block * QUERIES + 1) // 128 * parts if CAUSAL else key_count // 128 * parts
    acc = tl.zeros((QUERIES, BLOCK_E), tl.float32)
    acc = _add_to_query(
        acc, q_tile, grad_tile, log, row_delta, k, v, mask, queries, rows * key_count, 0, whole, k_row, v_row,
        mask_query, mask_key, query_count, key_count, scale, key_low, key_high, call_low, call_high, limit,
        E, EV, BLOCK_E, BLOCK_EV, KEYS, MASK, CAUSAL, ALIGNED, PRECISION, False,
    )  # fmt: skip
    if CAUSAL or not ALIGNED:
        end = tl.cdiv(seen, 128) * parts
        acc = _add_to_query(
            acc, q_tile, grad_tile, log, row_delta, k, v, mask, queries, rows * key_count, whole, end, k_row, v_row,
            mask_query, mask_key, query_count, key_count, scale, key_low, key_high, call_low, call_high, limit,
            E, EV, BLOCK_E, BLOCK_EV, KEYS, MASK, CAUSAL, ALIGNED, PRECISION, True,
        )  # fmt: skip
    survivors = tl.where(kept > 0, 65536.0 / tl.maximum(kept, 1).to(tl.float32), 0.0)
    store_rows(d_query, rows, acc * (survivors * scale * 0.6931471805599453), inside, E, BLOCK_E)


@triton.jit
def _add_to_keys(
    d_key, d_value, k, v, keys, q, grad, lse, delta, mask, row_start, number, begin, end, q_stride, grad_stride,
    mask_query, mask_key, query_count, key_count, scale, key_low, key_high, call_low, call_high, limit, nothing,
    E: tl.constexpr, EV: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_EV: tl.constexpr, QUERIES: tl.constexpr,
    KEYS: tl.constexpr, MASK: tl.constexpr, CAUSAL: tl.constexpr, ALIGNED: tl.constexpr, PRECISION: tl.constexpr,
    PARTIAL: tl.constexpr, CHECK: tl.constexpr,
):  # fmt: skip
    """Add the blocks of queries ``begin`` to ``end`` to a tile's gradients of keys and values."""
    factor = 1.0 if MASK == "float" else scale
    for block in tl.range(begin, end):
        queries = block * QUERIES + tl.arange(0, QUERIES)
        inside = queries < query_count
        q_tile = load_rows(q, queries, q_stride, query_count, E, BLOCK_E, CHECK)
        grad_tile = load_rows(grad, queries, grad_stride, query_count, EV, BLOCK_EV, CHECK)
        if CHECK:
            log = tl.load(lse + queries, mask=inside, other=float("inf"))
            row_delta = tl.load(delta + queries, mask=inside, other=0.0)
        else:
            log = tl.load(lse + queries)
            row_delta = tl.load(delta + queries)
        scores = product(q_tile, tl.trans(k), PRECISION=PRECISION)
        scores = mask_scores(
            scores, mask, queries[:, None], keys[None, :], mask_query, mask_key, query_count, key_count, scale,
            MASK, CAUSAL, PARTIAL,
        )  # fmt: skip
        weights = tl.math.exp2(scores * factor - (log * 1.4426950408889634)[:, None])
        first = (row_start + queries) * key_count
        keep = keep_tile(first, number, key_low, key_high, call_low, call_high, limit, KEYS, ALIGNED)
        dropped = tl.where(keep, weights, nothing).to(grad_tile.dtype)
        d_value = product(tl.trans(dropped), grad_tile, d_value, PRECISION=PRECISION)
        d_weights = product(grad_tile, tl.trans(v), PRECISION=PRECISION)
        d_scores = weights * (tl.where(keep, d_weights, 0.0) - row_delta[:, None])
        d_key = product(tl.trans(d_scores.to(q_tile.dtype)), q_tile, d_key, PRECISION=PRECISION)
    return d_key, d_value


@triton.jit(do_not_specialize=_NUMBERS)
def key_value_kernel(
    q, k, v, mask, grad, lse, delta, d_key, d_value,
    key, call, keep, key_low, key_high, call_low, call_high, keep_number,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row, grad_batch, grad_head, grad_row,
    mask_batch, mask_head, mask_query, mask_key, heads, group, query_count, key_count, scale,
    E: tl.constexpr, EV: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_EV: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr,
    MASK: tl.constexpr, CAUSAL: tl.constexpr, ALIGNED: tl.constexpr, PRECISION: tl.constexpr, CHECK: tl.constexpr,
):  # fmt: skip
    """The gradients of a tile of ``KEYS`` keys and values: one program a tile of a group of heads."""
    parts: tl.constexpr = 128 // KEYS
    tile, number = block_of_head(tl.cdiv(key_count, 128) * parts, False)
    batch, shared = number // (heads // group), number % (heads // group)
    keys = tile_keys(tile, KEYS)
    key_low, key_high, call_low, call_high, kept = load_address(
        key, call, keep, 0, 0, key_low, key_high, call_low, call_high, keep_number, 0
    )
    limit, _ = keep_limit(kept)  # where nothing is kept, the factor of survivors is 0
    nothing = tl.minimum(kept, 0).to(tl.float32)  # see the forward kernel
    k_tile = load_rows(k + batch * k_batch + shared * k_head, keys, k_row, key_count, E, BLOCK_E, True)
    v_tile = load_rows(v + batch * v_batch + shared * v_head, keys, v_row, key_count, EV, BLOCK_EV, True)
    d_key_acc = tl.zeros((KEYS, BLOCK_E), tl.float32)
    d_value_acc = tl.zeros((KEYS, BLOCK_EV), tl.float32)

    blocks = tl.cdiv(query_count, QUERIES)
    last = tile // parts * 128 + 127  # of the tile's keys
    begin = tl.minimum((last - 127) // QUERIES, blocks) if CAUSAL else 0
    whole = tl.minimum(tl.cdiv(last, QUERIES), blocks) if CAUSAL else 0
    for member in tl.range(0, group):
        head = shared * group + member
        row_start = (batch * heads + head) * query_count
        head_q = q + batch * q_batch + head * q_head
        head_grad = grad + batch * grad_batch + head * grad_head
        head_mask = mask + batch * mask_batch + head * mask_head if MASK != "none" else mask
        if CAUSAL:
            d_key_acc, d_value_acc = _add_to_keys(
                d_key_acc, d_value_acc, k_tile, v_tile, keys, head_q, head_grad, lse + row_start, delta + row_start,
                head_mask, row_start, tile, begin, whole, q_row, grad_row, mask_query, mask_key, query_count, key_count,
                scale, key_low, key_high, call_low, call_high, limit, nothing,
                E, EV, BLOCK_E, BLOCK_EV, QUERIES, KEYS, MASK, CAUSAL, ALIGNED, PRECISION, True, CHECK,
            )  # fmt: skip
        d_key_acc, d_value_acc = _add_to_keys(
            d_key_acc, d_value_acc, k_tile, v_tile, keys, head_q, head_grad, lse + row_start, delta + row_start,
            head_mask, row_start, tile, whole, blocks, q_row, grad_row, mask_query, mask_key, query_count, key_count,
            scale, key_low, key_high, call_low, call_high, limit, nothing,
            E, EV, BLOCK_E, BLOCK_EV, QUERIES, KEYS, MASK, CAUSAL, ALIGNED, PRECISION, False, CHECK,
        )  # fmt: skip
    survivors = tl.where(kept > 0, 65536.0 / tl.maximum(kept, 1).to(tl.float32), 0.0)
    rows = number * key_count + keys
    store_rows(d_key, rows, d_key_acc * (survivors * scale * 0.6931471805599453), keys < key_count, E, BLOCK_E)
    store_rows(d_value, rows, d_value_acc * survivors, keys < key_count, EV, BLOCK_EV)
