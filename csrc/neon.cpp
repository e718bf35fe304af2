// NEON (arm64): the 16 blocks of a group in four registers of four 32-bit words.
#include <arm_neon.h>

#include <type_traits>

#include "kernels.h"
#include "philox.h"
#include "types.h"

namespace thinned {
namespace {

// 16 words, 16 decisions (all bits of a lane set where the element is kept) or 16 floats.
struct Words {
    uint32x4_t at[4];
};
struct Floats {
    float32x4_t at[4];
};
struct Doubles {
    float64x2_t at[8];
};

template <class Out, class Function>
THINNED_INLINE Out four(Function f) {
    return {{f(0), f(1), f(2), f(3)}};
}

struct Product {
    Words high, low;
};
THINNED_INLINE Product times(const Words &c, uint32_t multiplier) {
    Product out;
    for (int i = 0; i < 4; ++i) {
        const uint32x4_t lower = vreinterpretq_u32_u64(vmull_u32(vget_low_u32(c.at[i]), vdup_n_u32(multiplier)));
        const uint32x4_t upper = vreinterpretq_u32_u64(vmull_high_u32(c.at[i], vdupq_n_u32(multiplier)));
        out.high.at[i] = vuzp2q_u32(lower, upper);
        out.low.at[i] = vuzp1q_u32(lower, upper);
    }
    return out;
}
THINNED_INLINE Words exclusive_or(const Words &a, uint32_t constant) {
    return four<Words>([&](int i) { return veorq_u32(a.at[i], vdupq_n_u32(constant)); });
}
THINNED_INLINE Words exclusive_or(const Words &a, const Words &b, uint32_t constant) {
    return four<Words>([&](int i) { return veorq_u32(veorq_u32(a.at[i], vdupq_n_u32(constant)), b.at[i]); });
}

class Generator {
public:
    Generator(const Address &a, uint64_t group) : address_(a), group_(group) {
        head_ = head_of(uint32_t(16 * group >> 32), a.call, a.key);
    }

    THINNED_INLINE void next(Words masks[8]) {
        Words word[4];
        words(word);
        const uint32x4_t threshold = vdupq_n_u32(address_.keep), half = vdupq_n_u32(0xffff);
        for (int w = 0; w < 4; ++w) {
            masks[2 * w] = four<Words>([&](int i) { return vcltq_u32(vandq_u32(word[w].at[i], half), threshold); });
            masks[2 * w + 1] = four<Words>([&](int i) { return vcltq_u32(vshrq_n_u32(word[w].at[i], 16), threshold); });
        }
    }

    // The 64 words of a group: word w of block b at 16 * w + b.
    void words(uint32_t out[64]) {
        Words word[4];
        words(word);
        for (int w = 0; w < 4; ++w)
            for (int i = 0; i < 4; ++i) vst1q_u32(out + 16 * w + 4 * i, word[w].at[i]);
    }

private:
    THINNED_INLINE void words(Words c[4]) {
        const uint64_t block = 16 * group_++;
        if (uint32_t(block) == 0) head_ = head_of(uint32_t(block >> 32), address_.call, address_.key);
        static const uint32_t count[4] = {0, 1, 2, 3};
        const uint32x4_t first = vaddq_u32(vld1q_u32(count), vdupq_n_u32(uint32_t(block)));
        const Words blocks = four<Words>([&](int i) { return vaddq_u32(first, vdupq_n_u32(uint32_t(4 * i))); });
        Product p0 = times(blocks, kMultiplier0);
        Product p1 = times(exclusive_or(p0.high, head_.c2_round1), kMultiplier1);
        c[0] = exclusive_or(p1.high, head_.c0_round2), c[1] = p1.low;
        c[2] = exclusive_or(p0.low, head_.c2_round2);
        p0 = times(c[0], kMultiplier0), p1 = times(c[2], kMultiplier1);
        c[0] = exclusive_or(p1.high, c[1], head_.k0[2]), c[1] = p1.low;
        c[2] = exclusive_or(p0.high, head_.c2_round3), c[3] = p0.low;
        for (int round = 3; round < 10; ++round) {
            p0 = times(c[0], kMultiplier0), p1 = times(c[2], kMultiplier1);
            c[0] = exclusive_or(p1.high, c[1], head_.k0[round]), c[1] = p1.low;
            c[2] = exclusive_or(p0.high, c[3], head_.k1[round]), c[3] = p0.low;
        }
    }

    Address address_;
    uint64_t group_;
    Head head_;
};

struct Simd {
    using Mask = Words;
    using Generator = thinned::Generator;
    template <class T>
    using Vector = std::conditional_t<std::is_same_v<T, F64>, Doubles, Floats>;

    THINNED_INLINE static Mask mask_of(uint32_t bits) {
        static const uint32_t first[4] = {1, 2, 4, 8};
        const uint32x4_t one = vld1q_u32(first), all = vdupq_n_u32(bits);
        return {{vtstq_u32(all, one), vtstq_u32(all, vshlq_n_u32(one, 4)), vtstq_u32(all, vshlq_n_u32(one, 8)),
                 vtstq_u32(all, vshlq_n_u32(one, 12))}};
    }
    THINNED_INLINE static uint32_t bits_of(const Mask &m) {
        static const uint32_t first[4] = {1, 2, 4, 8};
        const uint32x4_t one = vld1q_u32(first);
        return vaddvq_u32(vandq_u32(m.at[0], one)) | vaddvq_u32(vandq_u32(m.at[1], one)) << 4 |
               vaddvq_u32(vandq_u32(m.at[2], one)) << 8 | vaddvq_u32(vandq_u32(m.at[3], one)) << 12;
    }

    template <class T>
    static Vector<T> set(double value) {
        if constexpr (std::is_same_v<T, F64>) {
            return eight([&](int) { return vdupq_n_f64(value); });
        } else {
            return four<Floats>([&](int) { return vdupq_n_f32(float(value)); });
        }
    }

    template <class T>
    THINNED_INLINE static Vector<T> load(const void *p) {
        if constexpr (std::is_same_v<T, F32>)
            return four<Floats>([&](int i) { return vld1q_f32(static_cast<const float *>(p) + 4 * i); });
        else if constexpr (std::is_same_v<T, F64>)
            return eight([&](int i) { return vld1q_f64(static_cast<const double *>(p) + 2 * i); });
        else
            return four<Floats>([&](int i) { return widened<T>(vld1_u16(static_cast<const uint16_t *>(p) + 4 * i)); });
    }

    template <class T>
    THINNED_INLINE static float32x4_t widened(uint16x4_t halves) {
        if constexpr (std::is_same_v<T, F16>) return vcvt_f32_f16(vreinterpret_f16_u16(halves));
        return vreinterpretq_f32_u32(vshll_n_u16(halves, 16));
    }

    template <class T>
    THINNED_INLINE static uint16x4_t narrowed(float32x4_t v) {
        if constexpr (std::is_same_v<T, F16>) return vreinterpret_u16_f16(vcvt_f16_f32(v));
        const uint32x4_t bits = vreinterpretq_u32_f32(v), upper = vshrq_n_u32(bits, 16);
        const uint32x4_t odd = vandq_u32(upper, vdupq_n_u32(1));
        const uint32x4_t sum = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
        const uint32x4_t nan = vorrq_u32(upper, vdupq_n_u32(0x40));
        return vmovn_u32(vbslq_u32(vceqq_f32(v, v), vshrq_n_u32(sum, 16), nan));
    }

    template <class T>
    THINNED_INLINE static void store(void *p, const Vector<T> &v) {
        if constexpr (std::is_same_v<T, F32>) {
            for (int i = 0; i < 4; ++i) vst1q_f32(static_cast<float *>(p) + 4 * i, v.at[i]);
        } else if constexpr (std::is_same_v<T, F64>) {
            for (int i = 0; i < 8; ++i) vst1q_f64(static_cast<double *>(p) + 2 * i, v.at[i]);
        } else {
            for (int i = 0; i < 4; ++i) vst1_u16(static_cast<uint16_t *>(p) + 4 * i, narrowed<T>(v.at[i]));
        }
    }
    template <class T>
    THINNED_INLINE static void stream(void *p, const Vector<T> &v) {
        store<T>(p, v);
    }
    static void fence() {}

    template <class T>
    THINNED_INLINE static Vector<T> rounded(const Vector<T> &v) {
        if constexpr (T::size == 2)
            return four<Floats>([&](int i) { return widened<T>(narrowed<T>(v.at[i])); });
        else
            return v;
    }

    THINNED_INLINE static Floats scaled(const Mask &m, const Floats &x, const Floats &scale) {
        return four<Floats>([&](int i) {
            return vreinterpretq_f32_u32(vandq_u32(m.at[i], vreinterpretq_u32_f32(vmulq_f32(x.at[i], scale.at[i]))));
        });
    }
    THINNED_INLINE static Floats add(const Floats &a, const Floats &b) {
        return four<Floats>([&](int i) { return vaddq_f32(a.at[i], b.at[i]); });
    }
    THINNED_INLINE static Floats multiply(const Floats &a, const Floats &b) {
        return four<Floats>([&](int i) { return vmulq_f32(a.at[i], b.at[i]); });
    }
    THINNED_INLINE static Floats choose(const Mask &m, const Floats &kept, const Floats &dropped) {
        return four<Floats>([&](int i) { return vbslq_f32(m.at[i], kept.at[i], dropped.at[i]); });
    }

    template <class Function>
    THINNED_INLINE static Doubles eight(Function f) {
        return {{f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7)}};
    }
    // the mask of two doubles, number i of 16
    THINNED_INLINE static uint64x2_t pair(const Mask &m, int i) {
        const int32x4_t lanes = vreinterpretq_s32_u32(m.at[i / 2]);
        return vreinterpretq_u64_s64(vmovl_s32(i & 1 ? vget_high_s32(lanes) : vget_low_s32(lanes)));
    }
    THINNED_INLINE static Doubles scaled(const Mask &m, const Doubles &x, const Doubles &scale) {
        return eight([&](int i) {
            return vreinterpretq_f64_u64(vandq_u64(pair(m, i), vreinterpretq_u64_f64(vmulq_f64(x.at[i], scale.at[i]))));
        });
    }
    THINNED_INLINE static Doubles add(const Doubles &a, const Doubles &b) {
        return eight([&](int i) { return vaddq_f64(a.at[i], b.at[i]); });
    }
    THINNED_INLINE static Doubles multiply(const Doubles &a, const Doubles &b) {
        return eight([&](int i) { return vmulq_f64(a.at[i], b.at[i]); });
    }
    THINNED_INLINE static Doubles choose(const Mask &m, const Doubles &kept, const Doubles &dropped) {
        return eight([&](int i) { return vbslq_f64(pair(m, i), kept.at[i], dropped.at[i]); });
    }
};

}  // namespace
}  // namespace thinned

#include "generic.h"

namespace thinned {

extern const Kernels kNeon = kernels_named("neon");

}  // namespace thinned
