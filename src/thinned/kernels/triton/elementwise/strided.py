"""The kernel for all other layouts: tiles of two axes, each with steps of its own in memory and in the mask.

Where an axis shares decisions, one is computed for a row or column of a tile. Elsewhere each element computes a block
of Philox for itself.

The arguments of the kernel:

- out: result.
- x: input; None for normals.
- residual: for ``ADD``.
- rows: size of the axis of rows, of which a program does ``CHUNKS`` times ``ROWS``.
- columns: size of the axis of columns, of which a program does ``COLUMNS``.
- row_tiles: programs along the rows.
- column_tiles: programs along the columns.
- offset: mask's index of the first element.
- out_a: step of ``out`` along axis a, and so on; ``mask_a`` is that of the mask's index.
- FORM: arithmetic.
- SHARED_ROWS: True where all rows have the same decisions.
- SHARED_COLUMNS: True where all columns have the same decisions.
- SOFT: see :func:`thinned.kernels.triton.elementwise.arithmetic.wide`.
"""

import triton
import triton.language as tl

from thinned.kernels.triton import bits
from thinned.kernels.triton.address import ARGUMENTS, load_address, load_constants
from thinned.kernels.triton.elementwise.arithmetic import ADD, GAUSSIAN, NORMALS, applied, noisy, normal_of

__all__ = ["strided_kernel"]

_CHANGING = ("offset", "row_tiles", "column_tiles", "size_b", "size_c", "mask_a", "mask_b", "mask_c")


@triton.jit
def _noise(index, limit, alive, low, high, call_low, call_high, FORM: tl.constexpr):
    """Normals or decisions, whichever the form takes."""
    if (FORM == GAUSSIAN) or (FORM == NORMALS):
        noise = normal_of(bits.word_at(index, low, high, call_low, call_high))
    else:
        noise = bits.keep_at(index, limit, alive, low, high, call_low, call_high)
    return noise


@triton.jit(do_not_specialize=[*ARGUMENTS, *_CHANGING, "mask_row", "mask_column"])
def strided_kernel(
    out, x, residual,
    key, call, keep, constants, key_step, keep_step, constants_step,
    key_low, key_high, call_low, call_high, keep_number, scale, shift, dropped,
    rows, columns, row_tiles, column_tiles, offset, size_b, size_c,
    out_a, out_b, out_c, out_row, out_column, x_a, x_b, x_c, x_row, x_column,
    residual_a, residual_b, residual_c, residual_row, residual_column,
    mask_a, mask_b, mask_c, mask_row, mask_column,
    FORM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHUNKS: tl.constexpr,
    SHARED_ROWS: tl.constexpr, SHARED_COLUMNS: tl.constexpr, SOFT: tl.constexpr,
):  # fmt: skip
    """Matrices of ``rows`` and ``columns`` along three outer axes a, b and c, of which a may be that of members."""
    tile = tl.program_id(0).to(tl.int64)
    column_tile = tile % column_tiles
    tile = tile // column_tiles
    row_tile = tile % row_tiles
    tile = tile // row_tiles
    c = tile % size_c
    tile = tile // size_c
    b = tile % size_b
    member = tile // size_b
    out += member * out_a + b * out_b + c * out_c
    if FORM != NORMALS:
        x += member * x_a + b * x_b + c * x_c
    if FORM == ADD:
        residual += member * residual_a + b * residual_b + c * residual_c
    low, high, call_low, call_high, threshold = load_address(
        key, call, keep, key_step, keep_step, key_low, key_high, call_low, call_high, keep_number, member
    )
    scale, shift, dropped = load_constants(keep, constants, constants_step, scale, shift, dropped, threshold, member)
    limit, alive = bits.keep_limit(threshold)
    column = (column_tile * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    index = offset + member * mask_a + b * mask_b + c * mask_c + tl.zeros([1, 1], tl.int64)
    if SHARED_ROWS:  # one decision for all rows of the program
        if not SHARED_COLUMNS:
            index += column * mask_column
        noise = _noise(index, limit, alive, low, high, call_low, call_high, FORM)
    for chunk in range(CHUNKS):
        row = ((row_tile * CHUNKS + chunk) * ROWS + tl.arange(0, ROWS))[:, None]
        guard = (row < rows) & (column < columns)
        if not SHARED_ROWS:
            at = index + row * mask_row
            if not SHARED_COLUMNS:
                at += column * mask_column
            noise = _noise(at, limit, alive, low, high, call_low, call_high, FORM)
        if FORM == NORMALS:
            result = noise
        else:
            v = tl.load(x + row * x_row + column * x_column, mask=guard)
            r = v
            if FORM == ADD:
                r = tl.load(residual + row * residual_row + column * residual_column, mask=guard)
            if FORM == GAUSSIAN:
                result = noisy(v, noise, scale, SOFT)
            else:
                result = applied(v, r, noise, scale, shift, dropped, FORM, SOFT)
        tl.store(out + row * out_row + column * out_column, result, mask=guard)
