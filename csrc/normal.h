// A standard normal from 32 random bits, in float32 operations that are each rounded once, in this order: the same bits
// on every machine. src/thinned/philox.py is the specification.
#pragma once
#include <cmath>

#include "half.h"
#include "types.h"

namespace thinned {
namespace {

// Natural logarithm of a positive normal number (the polynomial of Cephes' logf).
THINNED_INLINE float log_of(float x) {
    const uint32_t bits = bits_of(x);
    const float mantissa = float_of((bits & 0x7fffffu) | 0x3f000000u);
    const bool small = mantissa < 0.707106781186547524f;
    const float exponent = float(int32_t(bits >> 23) - 126 - int32_t(small));
    const float m = small ? mantissa + mantissa - 1.0f : mantissa - 1.0f, z = m * m;
    float y = 7.0376836292e-2f;
    y = y * m + -1.1514610310e-1f;
    y = y * m + 1.1676998740e-1f;
    y = y * m + -1.2420140846e-1f;
    y = y * m + 1.4249322787e-1f;
    y = y * m + -1.6668057665e-1f;
    y = y * m + 2.0000714765e-1f;
    y = y * m + -2.4999993993e-1f;
    y = y * m + 3.3333331174e-1f;
    y = y * m * z;
    y = y + exponent * -2.12194440e-4f;
    y = y - 0.5f * z;
    return (m + y) + exponent * 0.693359375f;
}

// The quantile function at (lower 31 bits + 1/2) / 2^32 in the upper tail, the top bit being the sign, by the inverse
// error function of Giles 2012, "Approximating the erfinv function", in single precision.
THINNED_INLINE float normal_of(uint32_t word) {
    const float v = (float(int32_t(word & 0x7fffffffu)) + 0.5f) * 0x1p-31f;
    const float w = -log_of(v * (2.0f - v));
    const bool central = w < 5.0f;
    const float u = central ? w - 2.5f : std::sqrt(w > 0.0f ? w : 0.0f) - 3.0f;
    float p = central ? 2.81022636e-08f : -0.000200214257f;
    p = p * u + (central ? 3.43273939e-07f : 0.000100950558f);
    p = p * u + (central ? -3.5233877e-06f : 0.00134934322f);
    p = p * u + (central ? -4.39150654e-06f : -0.00367342844f);
    p = p * u + (central ? 0.00021858087f : 0.00573950773f);
    p = p * u + (central ? -0.00125372503f : -0.0076224613f);
    p = p * u + (central ? -0.00417768164f : 0.00943887047f);
    p = p * u + (central ? 0.246640727f : 1.00167406f);
    p = p * u + (central ? 1.50140941f : 2.83297682f);
    const float z = 1.41421356237309505f * (p * (1.0f - v));
    return word >> 31 ? -z : z;
}

}  // namespace
}  // namespace thinned
