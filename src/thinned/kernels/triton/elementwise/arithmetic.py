"""Device functions: a form's arithmetic on decisions, in float32, and normals. Each operation is rounded once.

Kernels that use them are launched with ``enable_fp_fusion=False``: a fused multiply-add would round once where
:mod:`thinned.kernels.form` and :mod:`thinned.philox` say twice.
"""

import triton
import triton.language as tl

from thinned.kernels.form import Form

__all__ = ["ADD", "ALPHA", "GAUSSIAN", "NORMALS", "applied", "narrow", "noisy", "normal_of", "wide"]

ADD = tl.constexpr(int(Form.ADD))
ALPHA = tl.constexpr(int(Form.ALPHA))
GAUSSIAN = tl.constexpr(int(Form.GAUSSIAN))
NORMALS = tl.constexpr(-1)  # the normals themselves


@triton.jit
def wide(value, SOFT: tl.constexpr):
    """A number in float32. ``SOFT``: Triton's interpreter truncates bfloat16, so the bits are moved there instead."""
    if SOFT and value.dtype == tl.bfloat16:
        result = (value.to(tl.uint16, bitcast=True).to(tl.uint32) << 16).to(tl.float32, bitcast=True)
    else:
        result = value.to(tl.float32)
    return result


@triton.jit
def narrow(value, dtype: tl.constexpr, SOFT: tl.constexpr):
    """A float32 rounded to the nearest number of ``dtype``, ties to even."""
    if SOFT and dtype == tl.bfloat16:
        bits = value.to(tl.uint32, bitcast=True)
        nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        nan = (bits & 0x7FFFFFFF) > 0x7F800000
        result = tl.where(nan, (bits >> 16) | 0x40, nearest).to(tl.uint16).to(tl.bfloat16, bitcast=True)
    else:
        result = value.to(dtype)
    return result


@triton.jit
def applied(x, residual, kept, scale, shift, dropped, FORM: tl.constexpr, SOFT: tl.constexpr):
    """The result of a form of decisions for values ``x``, in their dtype.

    Selected, never multiplied by the mask: a dropped NaN or infinity becomes 0.
    """
    survivors = wide(x, SOFT) * scale
    if FORM == ALPHA:
        survivors += shift
    result = narrow(tl.where(kept, survivors, dropped), x.dtype, SOFT)
    if FORM == ADD:  # rounded before, so that the sum is bitwise residual + dropout(x)
        result = narrow(wide(residual, SOFT) + wide(result, SOFT), x.dtype, SOFT)
    return result


@triton.jit
def noisy(x, normal, sigma, SOFT: tl.constexpr):
    """``x`` times a normal of mean 1 and standard deviation ``sigma``."""
    return narrow(wide(x, SOFT) * (normal * sigma + 1.0), x.dtype, SOFT)


@triton.jit
def _log(x):
    bits = x.to(tl.int32, bitcast=True)
    mantissa = ((bits & 0x7FFFFF) | 0x3F000000).to(tl.float32, bitcast=True)
    small = mantissa < 0.707106781186547524
    exponent = ((bits >> 23) - 126 - small.to(tl.int32)).to(tl.float32)
    m = tl.where(small, mantissa + mantissa - 1.0, mantissa - 1.0)
    z = m * m
    y = m * 7.0376836292e-2 + -1.1514610310e-1
    y = y * m + 1.1676998740e-1
    y = y * m + -1.2420140846e-1
    y = y * m + 1.4249322787e-1
    y = y * m + -1.6668057665e-1
    y = y * m + 2.0000714765e-1
    y = y * m + -2.4999993993e-1
    y = y * m + 3.3333331174e-1
    y = y * m * z
    y = y + exponent * -2.12194440e-4
    y = y - 0.5 * z
    return (m + y) + exponent * 0.693359375


@triton.jit
def normal_of(word):
    """:func:`thinned.philox.normals` of 32 random bits."""
    v = ((word & 0x7FFFFFFF).to(tl.int32).to(tl.float32) + 0.5) * 4.656612873077393e-10
    tail = -_log(v * (2.0 - v))
    central = tail < 5.0
    u = tl.where(central, tail - 2.5, tl.sqrt_rn(tl.maximum(tail, 0.0)) - 3.0)
    q = tl.where(central, 2.81022636e-08, -0.000200214257)
    q = q * u + tl.where(central, 3.43273939e-07, 0.000100950558)
    q = q * u + tl.where(central, -3.5233877e-06, 0.00134934322)
    q = q * u + tl.where(central, -4.39150654e-06, -0.00367342844)
    q = q * u + tl.where(central, 0.00021858087, 0.00573950773)
    q = q * u + tl.where(central, -0.00125372503, -0.0076224613)
    q = q * u + tl.where(central, -0.00417768164, 0.00943887047)
    q = q * u + tl.where(central, 0.246640727, 1.00167406)
    q = q * u + tl.where(central, 1.50140941, 2.83297682)
    z = 1.41421356237309505 * (q * (1.0 - v))
    return tl.where((word >> 31) != 0, -z, z)
