"""The kernels for the end of a branch: ``residual + dropout(activation(x + bias))`` and its gradients, one pass each.

Everything is contiguous, and the mask's index is the position in memory. All arithmetic is in float32 and rounded once.
"""

import triton
import triton.language as tl

from thinned.kernels.activation import Activation
from thinned.kernels.triton import bits
from thinned.kernels.triton.address import ARGUMENTS, load_address, load_constants
from thinned.kernels.triton.elementwise.arithmetic import narrow, wide
from thinned.kernels.triton.elementwise.runs import layout_zero, store_lanes

__all__ = ["branch_gradients_kernel", "branch_kernel"]

_RELU = tl.constexpr(int(Activation.RELU))
_GELU = tl.constexpr(int(Activation.GELU))
_GELU_TANH = tl.constexpr(int(Activation.GELU_TANH))
_SILU = tl.constexpr(int(Activation.SILU))


@triton.jit
def _tanh_argument(v):
    return 0.7978845608028654 * (v + 0.044715 * v * v * v)


@triton.jit
def _activated(v, ACTIVATION: tl.constexpr):
    if ACTIVATION == _RELU:
        v = tl.where(v < 0, 0.0, v)
    elif ACTIVATION == _GELU:
        v = 0.5 * v * (1.0 + tl.math.erf(v * 0.7071067811865476))
    elif ACTIVATION == _GELU_TANH:  # (1 + tanh(u)) / 2 is the logistic function of 2u
        v = v / (1.0 + tl.exp(-2.0 * _tanh_argument(v)))
    elif ACTIVATION == _SILU:
        v = v / (1.0 + tl.exp(-v))
    return v


@triton.jit
def _slope(v, ACTIVATION: tl.constexpr):
    """The derivative of the activation."""
    if ACTIVATION == _RELU:
        slope = tl.where(v > 0, 1.0, 0.0)
    elif ACTIVATION == _GELU:
        normal = 0.3989422804014327 * tl.exp(-0.5 * v * v)
        slope = 0.5 * (1.0 + tl.math.erf(v * 0.7071067811865476)) + v * normal
    elif ACTIVATION == _GELU_TANH:
        s = 1.0 / (1.0 + tl.exp(-2.0 * _tanh_argument(v)))
        slope = s + v * s * (1.0 - s) * 1.5957691216057308 * (1.0 + 0.134145 * v * v)
    elif ACTIVATION == _SILU:
        s = 1.0 / (1.0 + tl.exp(-v))
        slope = s * (1.0 + v * (1.0 - s))
    else:
        slope = v * 0.0 + 1.0
    return slope


@triton.jit
def _loaded(pointer, e, remaining, GUARD: tl.constexpr):
    if GUARD:
        value = tl.load(pointer + e, mask=e < remaining)
    else:
        value = tl.load(pointer + e)
    return value


@triton.jit
def _bias_at(bias, start, lane: tl.constexpr, GROUPS: tl.constexpr, WIDTH: tl.constexpr, SOFT: tl.constexpr):
    """The bias of a lane of each group; ``start`` is the column of the tile's first element."""
    group, column = tl.arange(0, GROUPS)[:, None] * 128, tl.arange(0, 16)[None, :]
    if WIDTH % 128 == 0:  # a group lies in one row
        at = (start + group) % WIDTH + (16 * lane + column)
    else:
        at = (start + group + 16 * lane + column) % WIDTH
    return wide(tl.load(bias + at), SOFT)


@triton.jit
def _result(
    v, other, kept, alive, scale, ACTIVATION: tl.constexpr, BACKWARD: tl.constexpr, EMPTY: tl.constexpr,
):  # fmt: skip
    """The output in float32, or the gradient of ``v`` from that of the output, which is ``other`` then."""
    if EMPTY:
        kept = kept & alive
    if BACKWARD:
        result = tl.where(kept, other * scale, 0.0) * _slope(v, ACTIVATION)
    else:
        result = tl.where(kept, _activated(v, ACTIVATION) * scale, 0.0)
        if other is not None:
            result += other
    return result


@triton.jit
def _lane(
    x, bias, other, start, e, word, lane: tl.constexpr, limit, alive, scale, remaining,
    ACTIVATION: tl.constexpr, BACKWARD: tl.constexpr, GROUPS: tl.constexpr, WIDTH: tl.constexpr,
    GUARD: tl.constexpr, EMPTY: tl.constexpr, SOFT: tl.constexpr,
):  # fmt: skip
    v = wide(x, SOFT)
    if bias is not None:
        v += _bias_at(bias, start, lane, GROUPS, WIDTH, SOFT)
    kept = (word if lane % 2 else word << 16) <= limit
    if other is None:
        result = _result(v, None, kept, alive, scale, ACTIVATION, BACKWARD, EMPTY)
    else:
        loaded = wide(_loaded(other, e + 16 * lane, remaining, GUARD), SOFT)
        result = _result(v, loaded, kept, alive, scale, ACTIVATION, BACKWARD, EMPTY)
    return narrow(result, x.dtype, SOFT)


@triton.jit
def _tile(
    out, x, bias, other, start, remaining, block, low, high, call_low, call_high, limit, alive, scale,
    A: tl.constexpr, B: tl.constexpr, G: tl.constexpr, W: tl.constexpr, GUARD: tl.constexpr, E: tl.constexpr,
    S: tl.constexpr,
):  # fmt: skip
    e = tl.arange(0, G)[:, None] * 128 + tl.arange(0, 16)[None, :]
    x0 = _loaded(x, e, remaining, GUARD)
    x1 = _loaded(x, e + 16, remaining, GUARD)
    x2 = _loaded(x, e + 32, remaining, GUARD)
    x3 = _loaded(x, e + 48, remaining, GUARD)
    x4 = _loaded(x, e + 64, remaining, GUARD)
    x5 = _loaded(x, e + 80, remaining, GUARD)
    x6 = _loaded(x, e + 96, remaining, GUARD)
    x7 = _loaded(x, e + 112, remaining, GUARD)
    w0, w1, w2, w3 = bits.group_words(block, G, False, low, high, call_low, call_high, layout_zero(x0))
    y0 = _lane(x0, bias, other, start, e, w0, 0, limit, alive, scale, remaining, A, B, G, W, GUARD, E, S)
    y1 = _lane(x1, bias, other, start, e, w0, 1, limit, alive, scale, remaining, A, B, G, W, GUARD, E, S)
    y2 = _lane(x2, bias, other, start, e, w1, 2, limit, alive, scale, remaining, A, B, G, W, GUARD, E, S)
    y3 = _lane(x3, bias, other, start, e, w1, 3, limit, alive, scale, remaining, A, B, G, W, GUARD, E, S)
    y4 = _lane(x4, bias, other, start, e, w2, 4, limit, alive, scale, remaining, A, B, G, W, GUARD, E, S)
    y5 = _lane(x5, bias, other, start, e, w2, 5, limit, alive, scale, remaining, A, B, G, W, GUARD, E, S)
    y6 = _lane(x6, bias, other, start, e, w3, 6, limit, alive, scale, remaining, A, B, G, W, GUARD, E, S)
    y7 = _lane(x7, bias, other, start, e, w3, 7, limit, alive, scale, remaining, A, B, G, W, GUARD, E, S)
    store_lanes(out, e, y0, y1, y2, y3, y4, y5, y6, y7, 0, remaining, GUARD)


@triton.jit(do_not_specialize=ARGUMENTS)
def branch_kernel(
    out, x, bias, other,
    key, call, keep, constants, key_step, keep_step, constants_step,
    key_low, key_high, call_low, call_high, keep_number, scale, shift, dropped,
    n,
    ACTIVATION: tl.constexpr, BACKWARD: tl.constexpr, GROUPS: tl.constexpr, WIDTH: tl.constexpr,
    GUARD: tl.constexpr, UNIT: tl.constexpr, EMPTY: tl.constexpr, SOFT: tl.constexpr,
):  # fmt: skip
    """The output, or the gradient of ``x + bias``.

    Args:
        out: result.
        x: input, rows of ``WIDTH``.
        bias: one for each column, or None.
        other: residual or None; where ``BACKWARD``, the gradient of the output.
        n: elements.
        GUARD: False where tiles cover ``n`` exactly.
        UNIT: a number that divides ``n``.
        EMPTY: True where the threshold may be 0.
        SOFT: see :func:`thinned.kernels.triton.elementwise.arithmetic.wide`.
    """
    TILE: tl.constexpr = GROUPS * 128
    tile = tl.program_id(0).to(tl.int64)
    low, high, call_low, call_high, threshold = load_address(
        key, call, keep, key_step, keep_step, key_low, key_high, call_low, call_high, keep_number, 0
    )
    scale, shift, dropped = load_constants(keep, constants, constants_step, scale, shift, dropped, threshold, 0)
    limit, alive = bits.keep_limit(threshold)
    first = tile * TILE
    block = tile * (GROUPS * 16)
    start = (first % WIDTH).to(tl.int32)
    out += first
    x += first
    if other is not None:
        other += first
    remaining = tl.minimum((n - first) // UNIT, TILE // UNIT).to(tl.int32) * UNIT
    _tile(
        out, x, bias, other, start, remaining, block, low, high, call_low, call_high, limit, alive, scale,
        ACTIVATION, BACKWARD, GROUPS, WIDTH, GUARD, EMPTY, SOFT,
    )  # fmt: skip


@triton.jit
def _gradient(
    x, grad, bias, column, e, guard, word, lane: tl.constexpr, limit, alive, scale,
    ACTIVATION: tl.constexpr, EMPTY: tl.constexpr, SOFT: tl.constexpr,
):  # fmt: skip
    v = wide(x, SOFT) + wide(tl.load(bias + column + 16 * lane), SOFT)
    kept = (word if lane % 2 else word << 16) <= limit
    other = wide(tl.load(grad + e + 16 * lane, mask=guard, other=0.0), SOFT)
    return _result(v, other, kept, alive, scale, ACTIVATION, True, EMPTY)


@triton.jit
def _store_sums(at, a0, a1, a2, a3, a4, a5, a6, a7):
    tl.store(at, tl.sum(a0, axis=0))
    tl.store(at + 16, tl.sum(a1, axis=0))
    tl.store(at + 32, tl.sum(a2, axis=0))
    tl.store(at + 48, tl.sum(a3, axis=0))
    tl.store(at + 64, tl.sum(a4, axis=0))
    tl.store(at + 80, tl.sum(a5, axis=0))
    tl.store(at + 96, tl.sum(a6, axis=0))
    tl.store(at + 112, tl.sum(a7, axis=0))


@triton.jit(do_not_specialize=[*ARGUMENTS, "rows", "chunks"])
def branch_gradients_kernel(
    out, sums, x, bias, grad,
    key, call, keep, constants, key_step, keep_step, constants_step,
    key_low, key_high, call_low, call_high, keep_number, scale, shift, dropped,
    rows, chunks,
    ACTIVATION: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, EMPTY: tl.constexpr, SOFT: tl.constexpr,
):  # fmt: skip
    """The gradient of ``x + bias``, and its sums over ``chunks * ROWS`` rows for each program, in float32.

    A program does 128 columns, so that the groups of its rows begin where its columns do; ``WIDTH`` is a multiple.
    """
    program = tl.program_id(0)
    strip = program % (WIDTH // 128)
    part = program // (WIDTH // 128)
    low, high, call_low, call_high, threshold = load_address(
        key, call, keep, key_step, keep_step, key_low, key_high, call_low, call_high, keep_number, 0
    )
    scale, shift, dropped = load_constants(keep, constants, constants_step, scale, shift, dropped, threshold, 0)
    limit, alive = bits.keep_limit(threshold)
    column = strip * 128 + tl.arange(0, 16)[None, :]
    a0 = tl.zeros([ROWS, 16], tl.float32)
    a1, a2, a3, a4, a5, a6, a7 = a0, a0, a0, a0, a0, a0, a0
    for chunk in range(chunks):
        row = ((part * chunks + chunk) * ROWS + tl.arange(0, ROWS))[:, None].to(tl.int64)
        guard = row < rows
        e = row * WIDTH + column
        x0 = tl.load(x + e, mask=guard, other=0.0)
        x1 = tl.load(x + e + 16, mask=guard, other=0.0)
        x2 = tl.load(x + e + 32, mask=guard, other=0.0)
        x3 = tl.load(x + e + 48, mask=guard, other=0.0)
        x4 = tl.load(x + e + 64, mask=guard, other=0.0)
        x5 = tl.load(x + e + 80, mask=guard, other=0.0)
        x6 = tl.load(x + e + 96, mask=guard, other=0.0)
        x7 = tl.load(x + e + 112, mask=guard, other=0.0)
        block = (row * (WIDTH // 128) + strip) * 16 + tl.arange(0, 16)[None, :] + layout_zero(x0).to(tl.int64)
        block_low, block_high = bits.low_high(block)
        w0, w1, w2, w3 = bits.block_words(block_low, block_high, low, high, call_low, call_high)
        y0 = _gradient(x0, grad, bias, column, e, guard, w0, 0, limit, alive, scale, ACTIVATION, EMPTY, SOFT)
        y1 = _gradient(x1, grad, bias, column, e, guard, w0, 1, limit, alive, scale, ACTIVATION, EMPTY, SOFT)
        y2 = _gradient(x2, grad, bias, column, e, guard, w1, 2, limit, alive, scale, ACTIVATION, EMPTY, SOFT)
        y3 = _gradient(x3, grad, bias, column, e, guard, w1, 3, limit, alive, scale, ACTIVATION, EMPTY, SOFT)
        y4 = _gradient(x4, grad, bias, column, e, guard, w2, 4, limit, alive, scale, ACTIVATION, EMPTY, SOFT)
        y5 = _gradient(x5, grad, bias, column, e, guard, w2, 5, limit, alive, scale, ACTIVATION, EMPTY, SOFT)
        y6 = _gradient(x6, grad, bias, column, e, guard, w3, 6, limit, alive, scale, ACTIVATION, EMPTY, SOFT)
        y7 = _gradient(x7, grad, bias, column, e, guard, w3, 7, limit, alive, scale, ACTIVATION, EMPTY, SOFT)
        a0, a1, a2, a3, a4, a5, a6, a7 = a0 + y0, a1 + y1, a2 + y2, a3 + y3, a4 + y4, a5 + y5, a6 + y6, a7 + y7
        tl.store(out + e, narrow(y0, x0.dtype, SOFT), mask=guard)
        tl.store(out + e + 16, narrow(y1, x0.dtype, SOFT), mask=guard)
        tl.store(out + e + 32, narrow(y2, x0.dtype, SOFT), mask=guard)
        tl.store(out + e + 48, narrow(y3, x0.dtype, SOFT), mask=guard)
        tl.store(out + e + 64, narrow(y4, x0.dtype, SOFT), mask=guard)
        tl.store(out + e + 80, narrow(y5, x0.dtype, SOFT), mask=guard)
        tl.store(out + e + 96, narrow(y6, x0.dtype, SOFT), mask=guard)
        tl.store(out + e + 112, narrow(y7, x0.dtype, SOFT), mask=guard)
    at = sums + part.to(tl.int64) * WIDTH + strip * 128 + tl.arange(0, 16)
    _store_sums(at, a0, a1, a2, a3, a4, a5, a6, a7)
