// The portable loop: any machine, and the oracle of faster ones.
#include "dropout.h"

#include <algorithm>
#include <cstring>

#include "half.h"
#include "philox.h"

namespace thinned {
namespace {

// How a survivor is scaled: in the type itself, half precision through float with one rounding.
template <class T>
struct Native {
    using Element = T;
    static T scaled(T value, double scale) { return value * T(scale); }
};
struct BFloat16 {
    using Element = uint16_t;
    static uint16_t scaled(uint16_t value, double scale) {
        return bfloat16_from_float(float_from_bfloat16(value) * float(scale));
    }
};
struct Float16 {
    using Element = uint16_t;
    static uint16_t scaled(uint16_t value, double scale) {
        return float16_from_float(float_from_float16(value) * float(scale));
    }
};

template <class Type>
void run(typename Type::Element *dst, const typename Type::Element *src, int64_t n, Address a) {
    using Element = typename Type::Element;
    if (a.keep == 0) {
        std::fill(dst, dst + n, Element(0));
    } else if (a.keep >= 65536) {
        if (dst != src) std::memcpy(dst, src, size_t(n) * sizeof(Element));  // bitwise: no multiplication by 1
    } else {
        const double scale = 65536.0 / a.keep;
        uint16_t lanes[128];
        for (int64_t start = 0; start < n; start += 128) {
            group_lanes(uint64_t(start) >> 7, a.call, a.key, lanes);
            const int64_t count = std::min<int64_t>(128, n - start);
            // selected, never multiplied by the mask: a dropped NaN or inf becomes 0
            for (int64_t e = 0; e < count; ++e)
                dst[start + e] = lanes[e] < a.keep ? Type::scaled(src[start + e], scale) : Element(0);
        }
    }
}

}  // namespace

void dropout(Dtype dtype, void *dst, const void *src, int64_t n, Address a) {
    switch (dtype) {
        case Dtype::f32: return run<Native<float>>(static_cast<float *>(dst), static_cast<const float *>(src), n, a);
        case Dtype::f64: return run<Native<double>>(static_cast<double *>(dst), static_cast<const double *>(src), n, a);
        case Dtype::bf16:
            return run<BFloat16>(static_cast<uint16_t *>(dst), static_cast<const uint16_t *>(src), n, a);
        case Dtype::f16: return run<Float16>(static_cast<uint16_t *>(dst), static_cast<const uint16_t *>(src), n, a);
    }
}

void keep_mask(uint8_t *dst, uint64_t offset, int64_t n, Address a) {
    uint16_t lanes[128];
    for (int64_t done = 0; done < n;) {
        const uint64_t i = offset + uint64_t(done), first = i & 127;
        group_lanes(i >> 7, a.call, a.key, lanes);
        const int64_t count = std::min<int64_t>(int64_t(128 - first), n - done);
        for (int64_t e = 0; e < count; ++e) dst[done + e] = lanes[first + uint64_t(e)] < a.keep;
        done += count;
    }
}

}  // namespace thinned
