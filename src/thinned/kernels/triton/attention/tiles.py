"""Tiles of scores and their keep decisions, for the kernels of attention.

One Philox call decides on the scores of a query with eight keys, 16 apart in the mask. A tile of ``KEYS`` scores a row
takes ``calls = KEYS / 8`` calls a row and exactly the keys that these decide on: of 128 neighbouring keys the numbers
``16 lane + part * calls + r`` with lane 0 to 7 and r below ``calls``, in this order. So no decision is drawn twice, and
in the layout of a tensor core's result, where a thread holds every eighth column, each thread draws its own decisions.

That needs rows whose first score begins a group of 128 in the mask: the number of keys is a multiple of 128
(``ALIGNED``). Elsewhere each row is shifted by its own offset. Eight keys 16 apart still belong to one residue modulo
16, so that their decisions are eight neighbouring bits of two calls, the second of them of the next group.
"""

import triton
import triton.language as tl

from thinned.kernels.triton.bits import block_words, low_high

__all__ = [
    "block_of_head",
    "keep_shifted",
    "keep_tile",
    "load_rows",
    "mask_scores",
    "product",
    "store_rows",
    "tile_keys",
]


@triton.jit
def block_of_head(blocks, LAST_FIRST: tl.constexpr):
    """The program's block, of ``blocks`` in each head, and the number of its head, int64.

    A later query sees more keys where attention is causal; then the longest programs start first.
    """
    program = tl.program_id(0)
    block = program % blocks
    if LAST_FIRST:
        block = blocks - 1 - block
    return block, (program // blocks).to(tl.int64)


@triton.jit
def tile_keys(number, KEYS: tl.constexpr):
    """The keys of tile ``number`` along a row, in the tile's order: int32 ``(KEYS,)``."""
    calls: tl.constexpr = KEYS // 8
    parts: tl.constexpr = 16 // calls
    column = tl.arange(0, KEYS)
    return (number // parts) * 128 + (number % parts) * calls + (column // calls) * 16 + column % calls


@triton.jit
def _lane_bits(block, lane, key_low, key_high, call_low, call_high):
    """The bits of eight lanes as the upper halves of uint32: ``(rows, 8, calls)``.

    A thread's lanes are known when the kernel is compiled, so that the selections cost nothing.
    """
    low, high = low_high(block)
    w0, w1, w2, w3 = block_words(low, high, key_low, key_high, call_low, call_high)
    lower = tl.where(lane < 2, w0[:, None, :], w1[:, None, :])
    upper = tl.where(lane < 6, w2[:, None, :], w3[:, None, :])
    word = tl.where(lane < 4, lower, upper)
    return tl.where((lane & 1) == 1, word, word << 16)


@triton.jit
def _first_scores(first, number, KEYS: tl.constexpr):
    """The mask's index of the first score of each call of a tile, int64 ``(rows, calls)``."""
    calls: tl.constexpr = KEYS // 8
    parts: tl.constexpr = 16 // calls
    step = (number // parts) * 128 + (number % parts) * calls + tl.arange(0, calls)
    return first[:, None] + step[None, :]


@triton.jit
def _packed_decisions(first, number, key_low, key_high, call_low, call_high, limit, KEYS: tl.constexpr):
    """The decisions of the eight lanes of each call of a tile as the bits of a uint32, ``(rows, calls)``."""
    index = _first_scores(first, number, KEYS)
    low, high = low_high(((index >> 7) << 4) + (index & 15))
    w0, w1, w2, w3 = block_words(low, high, key_low, key_high, call_low, call_high)
    bits = tl.where((w0 << 16) <= limit, 1, 0) | tl.where(w0 <= limit, 2, 0)
    bits |= tl.where((w1 << 16) <= limit, 4, 0) | tl.where(w1 <= limit, 8, 0)
    bits |= tl.where((w2 << 16) <= limit, 16, 0) | tl.where(w2 <= limit, 32, 0)
    bits |= tl.where((w3 << 16) <= limit, 64, 0) | tl.where(w3 <= limit, 128, 0)
    return bits.to(tl.uint32)


@triton.jit
def group_decisions(first, number, key_low, key_high, call_low, call_high, limit, KEYS: tl.constexpr):
    """The decisions of a whole group, tile ``number`` and its neighbours, a byte a tile: uint32 ``(rows, calls)``."""
    parts: tl.constexpr = 128 // KEYS
    packed = _packed_decisions(first, number, key_low, key_high, call_low, call_high, limit, KEYS)
    for part in tl.static_range(1, parts):
        bits = _packed_decisions(first, number + part, key_low, key_high, call_low, call_high, limit, KEYS)
        packed |= bits << (8 * part)
    return packed


@triton.jit
def keep_shifted(first, number, packed, key_low, key_high, call_low, call_high, limit, KEYS: tl.constexpr):
    """The decisions of tile ``number`` where rows begin within groups: ``(rows, KEYS)``.

    ``packed`` are the decisions of :func:`group_decisions` from this tile on. The second result are those from the next
    tile on: the calls of this tile's follower in the next group, which serve this tile too, take its place.
    """
    parts: tl.constexpr = 128 // KEYS
    following = _packed_decisions(first, number + parts, key_low, key_high, call_low, call_high, limit, KEYS)
    bits = (packed & 0xFF) | (following << 8)
    bits = bits >> ((_first_scores(first, number, KEYS) >> 4) & 7).to(tl.uint32)
    keep = (bits[:, None, :] >> tl.arange(0, 8).to(tl.uint32)[None, :, None]) & 1
    return tl.reshape(keep == 1, (first.shape[0], KEYS)), (packed >> 8) | (following << (8 * (parts - 1)))


@triton.jit
def keep_tile(
    first, number, key_low, key_high, call_low, call_high, limit, KEYS: tl.constexpr, ALIGNED: tl.constexpr
):  # fmt: skip
    """The decisions of tile ``number``: ``(rows, KEYS)``.

    ``first`` is the mask's index of each row's first score, int64 ``(rows,)``; ``limit`` the greatest bits that are
    kept.
    """
    if ALIGNED:
        index = _first_scores(first, number, KEYS)
        block = ((index >> 7) << 4) + (index & 15)
        lane = tl.arange(0, 8)[None, :, None]
        decisions = _lane_bits(block, lane, key_low, key_high, call_low, call_high) <= limit
        keep = tl.reshape(decisions, (first.shape[0], KEYS))
    else:
        packed = _packed_decisions(first, number, key_low, key_high, call_low, call_high, limit, KEYS)
        keep, _ = keep_shifted(first, number, packed, key_low, key_high, call_low, call_high, limit, KEYS)
    return keep


@triton.jit
def product(a, b, acc=None, PRECISION: tl.constexpr = "ieee"):
    """The product of matrices in float32, plus ``acc``.

    ``PRECISION`` is Triton's, or "wide" for its interpreter, which takes bfloat16 for integers here.
    """
    if PRECISION == "wide":
        result = tl.dot(a.to(tl.float32), b.to(tl.float32), acc, input_precision="ieee")
    else:
        result = tl.dot(a, b, acc, input_precision=PRECISION)
    return result


@triton.jit
def load_rows(start, rows, stride, count, SIZE: tl.constexpr, BLOCK: tl.constexpr, CHECK: tl.constexpr):
    """Rows of a matrix with neighbouring columns: ``(rows, BLOCK)``, 0 beyond its ``SIZE`` columns and ``count`` rows.

    ``CHECK`` says that rows may lie beyond ``count``.
    """
    columns = tl.arange(0, BLOCK)
    at = start + rows.to(tl.int64)[:, None] * stride + columns[None, :]
    if CHECK:
        if SIZE == BLOCK:
            return tl.load(at, mask=(rows < count)[:, None], other=0.0)
        return tl.load(at, mask=(rows < count)[:, None] & (columns < SIZE)[None, :], other=0.0)
    if SIZE == BLOCK:
        return tl.load(at)
    return tl.load(at, mask=(columns < SIZE)[None, :], other=0.0)


@triton.jit
def store_rows(start, rows, values, inside, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    """Store ``(rows, BLOCK)`` values as the ``inside`` rows, int64, of a contiguous matrix of ``SIZE`` columns."""
    columns = tl.arange(0, BLOCK)
    at = start + rows[:, None] * SIZE + columns[None, :]
    tl.store(at, values.to(start.dtype.element_ty), mask=inside[:, None] & (columns < SIZE)[None, :])


@triton.jit
def mask_scores(
    products, mask, queries, keys, query_stride, key_stride, query_count, key_count, scale,
    MASK: tl.constexpr, CAUSAL: tl.constexpr, PARTIAL: tl.constexpr,
):  # fmt: skip
    """Scores with the mask applied, -inf where a query does not see a key.

    A float mask gives them in units of log 2. Elsewhere the positive ``scale`` is left out: the exponential function
    takes it in one instruction with the subtraction of the maximum.

    ``queries`` and ``keys`` are positions, int32, broadcastable to the tile; ``scale`` is the factor of the products
    times log2(e); ``MASK`` is "none", "bool" or "float"; a ``PARTIAL`` tile may hold keys beyond the end, or those that
    a causal query does not see.
    """
    if MASK != "none":
        at = mask + queries.to(tl.int64) * query_stride + keys.to(tl.int64) * key_stride
        value = tl.load(at, mask=(queries < query_count) & (keys < key_count), other=0)
        if MASK == "float":
            products = products * scale + value.to(tl.float32) * 1.4426950408889634
        else:
            products = tl.where(value != 0, products, float("-inf"))
    if PARTIAL:
        visible = keys < key_count
        if CAUSAL:
            visible = visible & (keys <= queries)
        products = tl.where(visible, products, float("-inf"))
    return products
