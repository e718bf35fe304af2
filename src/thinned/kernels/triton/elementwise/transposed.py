"""The kernel for tiles whose columns are neighbours in memory and whose rows are neighbours in the mask.

Dropout of each element of a channels-last or transposed tensor is of this kind. The eight elements of a block are 16
rows apart, so a thread loads 16 bytes of a row, for each of eight rows. Where columns begin within groups, the eight
begin at some lane of one block and end in the next one: decisions are packed, those of the next block above, and
shifted.
"""

import triton
import triton.language as tl

from thinned.kernels.triton import bits
from thinned.kernels.triton.address import ARGUMENTS, load_address, load_constants
from thinned.kernels.triton.elementwise.arithmetic import ADD, applied
from thinned.kernels.triton.elementwise.runs import layout_zero

__all__ = ["transposed_kernel"]

_CHANGING = ("offset", "row_tiles", "column_tiles", "size_b", "size_c", "mask_a", "mask_b", "mask_c")


@triton.jit
def _decisions(block, limit, low, high, call_low, call_high):
    """Bit ``lane`` of each: the decision of that lane of the block."""
    block_low, block_high = bits.low_high(block)
    w0, w1, w2, w3 = bits.block_words(block_low, block_high, low, high, call_low, call_high)
    packed = tl.where((w0 << 16) <= limit, 1, 0) | tl.where(w0 <= limit, 2, 0)
    packed |= tl.where((w1 << 16) <= limit, 4, 0) | tl.where(w1 <= limit, 8, 0)
    packed |= tl.where((w2 << 16) <= limit, 16, 0) | tl.where(w2 <= limit, 32, 0)
    packed |= tl.where((w3 << 16) <= limit, 64, 0) | tl.where(w3 <= limit, 128, 0)
    return packed


@triton.jit
def _eighth(
    x, residual, x_row, residual_row, number: tl.constexpr, left, inside, decisions, scale, shift, dropped,
    FORM: tl.constexpr, SOFT: tl.constexpr,
):  # fmt: skip
    """The results of rows ``16 * number`` and the 15 after it; ``left`` rows from the first on exist."""
    guard = inside & (left > 16 * number)
    value = tl.load(x + 16 * number * x_row, mask=guard)
    other = value
    if FORM == ADD:
        other = tl.load(residual + 16 * number * residual_row, mask=guard)
    return applied(value, other, (decisions & (1 << number)) != 0, scale, shift, dropped, FORM, SOFT)


@triton.jit
def _store_rows(out, out_row, y0, y1, y2, y3, y4, y5, y6, y7, left, inside):
    tl.store(out, y0, mask=inside & (left > 0))
    tl.store(out + 16 * out_row, y1, mask=inside & (left > 16))
    tl.store(out + 32 * out_row, y2, mask=inside & (left > 32))
    tl.store(out + 48 * out_row, y3, mask=inside & (left > 48))
    tl.store(out + 64 * out_row, y4, mask=inside & (left > 64))
    tl.store(out + 80 * out_row, y5, mask=inside & (left > 80))
    tl.store(out + 96 * out_row, y6, mask=inside & (left > 96))
    tl.store(out + 112 * out_row, y7, mask=inside & (left > 112))


@triton.jit(do_not_specialize=[*ARGUMENTS, *_CHANGING, "mask_column"])
def transposed_kernel(
    out, x, residual,
    key, call, keep, constants, key_step, keep_step, constants_step,
    key_low, key_high, call_low, call_high, keep_number, scale, shift, dropped,
    rows, columns, row_tiles, column_tiles, offset, size_b, size_c,
    out_a, out_b, out_c, out_row, out_column, x_a, x_b, x_c, x_row, x_column,
    residual_a, residual_b, residual_c, residual_row, residual_column,
    mask_a, mask_b, mask_c, mask_row, mask_column,
    FORM: tl.constexpr, COLUMNS: tl.constexpr, CHUNKS: tl.constexpr, SOFT: tl.constexpr,
):  # fmt: skip
    """``CHUNKS`` times 128 rows of ``COLUMNS`` columns; arguments as in strided.py; ``mask_row`` is 1."""
    tile = tl.program_id(0).to(tl.int64)
    column_tile = tile % column_tiles
    tile = tile // column_tiles
    row_tile = tile % row_tiles
    tile = tile // row_tiles
    c = tile % size_c
    tile = tile // size_c
    b = tile % size_b
    member = tile // size_b
    low, high, call_low, call_high, threshold = load_address(
        key, call, keep, key_step, keep_step, key_low, key_high, call_low, call_high, keep_number, member
    )
    scale, shift, dropped = load_constants(keep, constants, constants_step, scale, shift, dropped, threshold, member)
    limit, alive = bits.keep_limit(threshold)
    column = (column_tile * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    row = row_tile * (CHUNKS * 128) + tl.arange(0, 16)[:, None]
    out += member * out_a + b * out_b + c * out_c + row * out_row + column * out_column
    x += member * x_a + b * x_b + c * x_c + row * x_row + column * x_column
    if FORM == ADD:
        residual += member * residual_a + b * residual_b + c * residual_c
        residual += row * residual_row + column * residual_column
    index = offset + member * mask_a + b * mask_b + c * mask_c + row + column * mask_column
    inside = column < columns
    zero = layout_zero(tl.load(x, mask=inside & (row < rows), other=0.0)).to(tl.int64)
    block = (index >> 7) * 16 + (index & 15) + zero
    lane = ((index >> 4) & 7).to(tl.int32)
    here = _decisions(block, limit, low, high, call_low, call_high)
    for _ in range(CHUNKS):
        block += 16
        following = _decisions(block, limit, low, high, call_low, call_high)
        d = (here | (following << 8)) >> lane
        if keep is not None:
            d = tl.where(alive, d, 0)
        here = following
        left = rows - row
        y0 = _eighth(x, residual, x_row, residual_row, 0, left, inside, d, scale, shift, dropped, FORM, SOFT)
        y1 = _eighth(x, residual, x_row, residual_row, 1, left, inside, d, scale, shift, dropped, FORM, SOFT)
        y2 = _eighth(x, residual, x_row, residual_row, 2, left, inside, d, scale, shift, dropped, FORM, SOFT)
        y3 = _eighth(x, residual, x_row, residual_row, 3, left, inside, d, scale, shift, dropped, FORM, SOFT)
        y4 = _eighth(x, residual, x_row, residual_row, 4, left, inside, d, scale, shift, dropped, FORM, SOFT)
        y5 = _eighth(x, residual, x_row, residual_row, 5, left, inside, d, scale, shift, dropped, FORM, SOFT)
        y6 = _eighth(x, residual, x_row, residual_row, 6, left, inside, d, scale, shift, dropped, FORM, SOFT)
        y7 = _eighth(x, residual, x_row, residual_row, 7, left, inside, d, scale, shift, dropped, FORM, SOFT)
        _store_rows(out, out_row, y0, y1, y2, y3, y4, y5, y6, y7, left, inside)
        row += 128
        out += 128 * out_row
        x += 128 * x_row
        if FORM == ADD:
            residual += 128 * residual_row
