"""The kernel for tensors along whose fastest axis the mask's index grows by one, too: whole groups at a time.

A program works on ``GROUPS`` groups of one run. A thread computes four neighbouring blocks, and loads four
neighbouring elements for each of their lanes.

The arguments of the kernel:

- out: result.
- x: input; None for normals.
- residual: for ``ADD``.
- tiles: programs a run.
- offset: mask's index of the first element.
- out_a: step of ``out`` along axis a, and so on; ``mask_a`` is that of the mask's index.
- FORM: arithmetic.
- GROUPS: groups a program.
- OUTER: False where there is one run.
- LEADING: True where a run may begin within a group.
- CARRY: see :func:`thinned.kernels.triton.bits.group_words`.
- GUARD: False where runs end where tiles do.
- UNIT: a number that divides ``n``: a guard that may end anywhere costs the wide accesses.
- SOFT: see :func:`thinned.kernels.triton.elementwise.arithmetic.wide`.

A threshold of 0 is for tensors alone: to know that nothing at all is kept costs each element an instruction.
"""

import triton
import triton.language as tl

from thinned.kernels.triton import bits
from thinned.kernels.triton.address import ARGUMENTS, load_address, load_constants
from thinned.kernels.triton.elementwise.arithmetic import ADD, GAUSSIAN, NORMALS, applied, noisy, normal_of

__all__ = ["layout_zero", "run_kernel", "store_lanes"]


@triton.jit
def _load(pointer, element, begin, end, GUARD: tl.constexpr):
    if GUARD:
        value = tl.load(pointer + element, mask=(element >= begin) & (element < end))
    else:
        value = tl.load(pointer + element)
    return value


@triton.jit
def _store(pointer, element, value, begin, end, GUARD: tl.constexpr):
    if GUARD:
        tl.store(pointer + element, value, mask=(element >= begin) & (element < end))
    else:
        tl.store(pointer + element, value)


@triton.jit
def layout_zero(value):
    """A uint32 zero that Triton takes for a function of ``value`` and LLVM folds.

    Triton lays out over threads whatever is computed from a load as the load is. Blocks of Philox, computed from
    nothing, would get another layout, and their decisions would go through shared memory.
    """
    if value.dtype.primitive_bitwidth == 16:
        zero = value.to(tl.uint16, bitcast=True).to(tl.uint32) >> 16
    else:
        zero = (value.to(tl.uint32, bitcast=True).to(tl.uint64) >> 32).to(tl.uint32)
    return zero


@triton.jit
def _lane(
    value, residual, e, begin, end, word, lane: tl.constexpr, limit, alive, scale, shift, dropped,
    FORM: tl.constexpr, GUARD: tl.constexpr, EMPTY: tl.constexpr, SOFT: tl.constexpr,
):  # fmt: skip
    kept = (word if lane % 2 else word << 16) <= limit
    if EMPTY:
        kept = kept & alive
    other = value
    if FORM == ADD:
        other = _load(residual, e + 16 * lane, begin, end, GUARD)
    return applied(value, other, kept, scale, shift, dropped, FORM, SOFT)


@triton.jit
def _decided(
    out, x, residual, begin, end, block, low, high, call_low, call_high, limit, alive, scale, shift, dropped,
    FORM: tl.constexpr, GROUPS: tl.constexpr, CARRY: tl.constexpr, GUARD: tl.constexpr, EMPTY: tl.constexpr,
    SOFT: tl.constexpr,
):  # fmt: skip
    """A tile of decisions. All stores come last: no load may pass one, as ``out`` may be ``x``."""
    e = tl.arange(0, GROUPS)[:, None] * 128 + tl.arange(0, 16)[None, :]
    x0 = _load(x, e, begin, end, GUARD)
    x1 = _load(x, e + 16, begin, end, GUARD)
    x2 = _load(x, e + 32, begin, end, GUARD)
    x3 = _load(x, e + 48, begin, end, GUARD)
    x4 = _load(x, e + 64, begin, end, GUARD)
    x5 = _load(x, e + 80, begin, end, GUARD)
    x6 = _load(x, e + 96, begin, end, GUARD)
    x7 = _load(x, e + 112, begin, end, GUARD)
    w0, w1, w2, w3 = bits.group_words(block, GROUPS, CARRY, low, high, call_low, call_high, layout_zero(x0))
    y0 = _lane(x0, residual, e, begin, end, w0, 0, limit, alive, scale, shift, dropped, FORM, GUARD, EMPTY, SOFT)
    y1 = _lane(x1, residual, e, begin, end, w0, 1, limit, alive, scale, shift, dropped, FORM, GUARD, EMPTY, SOFT)
    y2 = _lane(x2, residual, e, begin, end, w1, 2, limit, alive, scale, shift, dropped, FORM, GUARD, EMPTY, SOFT)
    y3 = _lane(x3, residual, e, begin, end, w1, 3, limit, alive, scale, shift, dropped, FORM, GUARD, EMPTY, SOFT)
    y4 = _lane(x4, residual, e, begin, end, w2, 4, limit, alive, scale, shift, dropped, FORM, GUARD, EMPTY, SOFT)
    y5 = _lane(x5, residual, e, begin, end, w2, 5, limit, alive, scale, shift, dropped, FORM, GUARD, EMPTY, SOFT)
    y6 = _lane(x6, residual, e, begin, end, w3, 6, limit, alive, scale, shift, dropped, FORM, GUARD, EMPTY, SOFT)
    y7 = _lane(x7, residual, e, begin, end, w3, 7, limit, alive, scale, shift, dropped, FORM, GUARD, EMPTY, SOFT)
    store_lanes(out, e, y0, y1, y2, y3, y4, y5, y6, y7, begin, end, GUARD)


@triton.jit
def store_lanes(out, e, y0, y1, y2, y3, y4, y5, y6, y7, begin, end, GUARD: tl.constexpr):
    """Store the eight lanes of a tile, of which ``e`` are the elements of the first."""
    _store(out, e, y0, begin, end, GUARD)
    _store(out, e + 16, y1, begin, end, GUARD)
    _store(out, e + 32, y2, begin, end, GUARD)
    _store(out, e + 48, y3, begin, end, GUARD)
    _store(out, e + 64, y4, begin, end, GUARD)
    _store(out, e + 80, y5, begin, end, GUARD)
    _store(out, e + 96, y6, begin, end, GUARD)
    _store(out, e + 112, y7, begin, end, GUARD)


@triton.jit
def _normal(
    out, x, begin, end, block, low, high, call_low, call_high, sigma,
    FORM: tl.constexpr, GROUPS: tl.constexpr, CARRY: tl.constexpr, GUARD: tl.constexpr, SOFT: tl.constexpr,
):  # fmt: skip
    """A tile of normals; an element takes a whole word, so a group has 64."""
    e = tl.arange(0, GROUPS)[:, None] * 64 + tl.arange(0, 16)[None, :]
    w0, w1, w2, w3 = bits.group_words(block, GROUPS, CARRY, low, high, call_low, call_high)
    for number in tl.static_range(4):
        word = w0 if number == 0 else (w1 if number == 1 else (w2 if number == 2 else w3))
        z = normal_of(word)
        if FORM == GAUSSIAN:
            z = noisy(_load(x, e + 16 * number, begin, end, GUARD), z, sigma, SOFT)
        _store(out, e + 16 * number, z, begin, end, GUARD)


@triton.jit
def _tile(
    out, x, residual, begin, end, block, low, high, call_low, call_high, limit, alive, scale, shift, dropped,
    FORM: tl.constexpr, GROUPS: tl.constexpr, CARRY: tl.constexpr, GUARD: tl.constexpr, EMPTY: tl.constexpr,
    SOFT: tl.constexpr,
):  # fmt: skip
    if (FORM == GAUSSIAN) or (FORM == NORMALS):
        _normal(out, x, begin, end, block, low, high, call_low, call_high, scale, FORM, GROUPS, CARRY, GUARD, SOFT)
    else:
        _decided(
            out, x, residual, begin, end, block, low, high, call_low, call_high, limit, alive, scale, shift, dropped,
            FORM, GROUPS, CARRY, GUARD, EMPTY, SOFT,
        )  # fmt: skip


@triton.jit(do_not_specialize=[*ARGUMENTS, "offset", "tiles", "size_b", "size_c", "mask_a", "mask_b", "mask_c"])
def run_kernel(
    out, x, residual,
    key, call, keep, constants, key_step, keep_step, constants_step,
    key_low, key_high, call_low, call_high, keep_number, scale, shift, dropped,
    n, tiles, offset, size_b, size_c,
    out_a, out_b, out_c, x_a, x_b, x_c, residual_a, residual_b, residual_c, mask_a, mask_b, mask_c,
    FORM: tl.constexpr, GROUPS: tl.constexpr, OUTER: tl.constexpr, LEADING: tl.constexpr, CARRY: tl.constexpr,
    GUARD: tl.constexpr, UNIT: tl.constexpr, SOFT: tl.constexpr,
):  # fmt: skip
    """Runs of ``n`` elements along three outer axes a, b and c, of which a may be that of members."""
    PER_GROUP: tl.constexpr = 64 if ((FORM == GAUSSIAN) or (FORM == NORMALS)) else 128
    TILE: tl.constexpr = GROUPS * PER_GROUP
    tile = tl.program_id(0).to(tl.int64)
    index = offset.to(tl.int64)
    member = tile * 0
    if OUTER:
        row = tile // tiles
        tile = tile % tiles
        c = row % size_c
        row = row // size_c
        b = row % size_b
        member = row // size_b
        out += member * out_a + b * out_b + c * out_c
        if FORM != NORMALS:
            x += member * x_a + b * x_b + c * x_c
        if FORM == ADD:
            residual += member * residual_a + b * residual_b + c * residual_c
        index += member * mask_a + b * mask_b + c * mask_c
    low, high, call_low, call_high, threshold = load_address(
        key, call, keep, key_step, keep_step, key_low, key_high, call_low, call_high, keep_number, member
    )
    scale, shift, dropped = load_constants(keep, constants, constants_step, scale, shift, dropped, threshold, member)
    limit, alive = bits.keep_limit(threshold)
    first = tile * TILE
    block = (index // PER_GROUP + tile * GROUPS) * 16
    if LEADING:
        first -= index % PER_GROUP
    out += first
    if FORM != NORMALS:
        x += first
    if FORM == ADD:
        residual += first
    begin = tl.maximum(-first, 0).to(tl.int32)
    end = tl.minimum((n - first) // UNIT, TILE // UNIT).to(tl.int32) * UNIT
    _tile(
        out, x, residual, begin, end, block, low, high, call_low, call_high, limit, alive, scale, shift, dropped,
        FORM, GROUPS, CARRY, GUARD, keep is not None, SOFT,
    )  # fmt: skip
