// Half-precision conversions, round to nearest even.
#pragma once
#include <cstdint>
#include <cstring>

namespace thinned {
namespace {  // internal linkage: see philox.h

[[maybe_unused]] inline uint32_t bits_of(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}
[[maybe_unused]] inline float float_of(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

[[maybe_unused]] inline float float_from_bfloat16(uint16_t value) { return float_of(uint32_t(value) << 16); }
[[maybe_unused]] inline uint16_t bfloat16_from_float(float value) {
    uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return uint16_t((bits >> 16) | 0x0040u);  // NaN stays NaN, quiet
    return uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

[[maybe_unused]] inline float float_from_float16(uint16_t value) {
    const uint32_t sign = uint32_t(value & 0x8000u) << 16, exponent = (value >> 10) & 0x1fu, fraction = value & 0x3ffu;
    if (exponent == 31) return float_of(sign | 0x7f800000u | (fraction << 13));
    if (exponent != 0) return float_of(sign | ((exponent + 112) << 23) | (fraction << 13));
    const float subnormal = float(fraction) * 0x1p-24f;
    return float_of(sign | bits_of(subnormal));
}
[[maybe_unused]] inline uint16_t float16_from_float(float value) {
    const uint32_t bits = bits_of(value), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return uint16_t(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
    if (magnitude >= 0x477ff000u) return uint16_t(sign | 0x7c00u);  // from 65520 on: infinity
    if (magnitude < 0x38800000u)  // subnormal: adding 0.5 lets the addition itself round at 2^-24
        return uint16_t(sign | (bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u));
    return uint16_t(sign | ((magnitude - 0x38000000u + 0x0fffu + ((magnitude >> 13) & 1u)) >> 13));
}

}  // namespace
}  // namespace thinned
