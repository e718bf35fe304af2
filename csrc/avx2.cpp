// AVX2 with F16C: the 16 blocks of a group in two registers of eight 32-bit words.
#include <immintrin.h>

#include <type_traits>

#include "kernels.h"
#include "philox.h"
#include "types.h"

namespace thinned {
namespace {

// One word of the 16 blocks of a group. While the rounds run, even and odd blocks are apart, each word in the low half of
// a 64-bit lane, as the 32 x 32 -> 64 multiplication reads it; the upper half may hold anything.
struct Words {
    __m256i even0, odd0, even1, odd1;  // blocks 0..7, blocks 8..15
};

template <class Function>
THINNED_INLINE Words each(Function f) {
    return {f(&Words::even0), f(&Words::odd0), f(&Words::even1), f(&Words::odd1)};
}
THINNED_INLINE __m256i wide(uint32_t word) { return _mm256_set1_epi64x(int64_t(word)); }
THINNED_INLINE Words times(const Words &c, __m256i m) {
    return each([&](auto part) { return _mm256_mul_epu32(c.*part, m); });
}
THINNED_INLINE Words high_xor(const Words &p, __m256i constant) {
    return each([&](auto part) { return _mm256_xor_si256(_mm256_srli_epi64(p.*part, 32), constant); });
}
THINNED_INLINE Words high_xor(const Words &p, const Words &c, __m256i constant) {
    return each([&](auto part) {
        return _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p.*part, 32), constant), c.*part);
    });
}

struct Mask16 {
    __m256i low, high;  // elements 0..7 and 8..15, all bits of a lane set where the element is kept
};

class Generator {
public:
    Generator(const Address &a, uint64_t group) : address_(a), group_(group), threshold_(_mm256_set1_epi32(int(a.keep))) {
        restart();
    }

    THINNED_INLINE void next(Mask16 masks[8]) {
        Joined word[4];
        words(word);
        for (int w = 0; w < 4; ++w) decide(word[w], masks + 2 * w);
    }

    // The 64 words of a group: word w of block b at 16 * w + b.
    void words(uint32_t out[64]) {
        Joined word[4];
        words(word);
        for (int w = 0; w < 4; ++w) {
            _mm256_storeu_si256(reinterpret_cast<__m256i *>(out + 16 * w), word[w].first);
            _mm256_storeu_si256(reinterpret_cast<__m256i *>(out + 16 * w + 8), word[w].second);
        }
    }

private:
    struct Joined {
        __m256i first, second;  // blocks 0..7 and 8..15
    };

    THINNED_INLINE void words(Joined word[4]) {
        if (left_ == 0) restart();
        --left_;
        ++group_;
        const __m256i m0 = wide(kMultiplier0), m1 = wide(kMultiplier1);
        Words p0 = product_, p1, c0, c1, c2, c3;
        const __m256i step = _mm256_set1_epi64x(int64_t(uint64_t(16) * kMultiplier0));
        product_ = each([&](auto part) { return _mm256_add_epi64(p0.*part, step); });
        p1 = times(high_xor(p0, wide(head_.c2_round1)), m1);
        c0 = high_xor(p1, wide(head_.c0_round2));
        const __m256i round2 = wide(head_.c2_round2);
        c2 = each([&](auto part) { return _mm256_xor_si256(p0.*part, round2); });
        c1 = p1;
        p0 = times(c0, m0), p1 = times(c2, m1);
        c0 = high_xor(p1, c1, wide(head_.k0[2])), c1 = p1;
        c2 = high_xor(p0, wide(head_.c2_round3)), c3 = p0;
#pragma GCC unroll 7
        for (int round = 3; round < 10; ++round) {
            p0 = times(c0, m0), p1 = times(c2, m1);
            c0 = high_xor(p1, c1, wide(head_.k0[round])), c1 = p1;
            c2 = high_xor(p0, c3, wide(head_.k1[round])), c3 = p0;
        }
        word[0] = {join(c0.even0, c0.odd0), join(c0.even1, c0.odd1)};
        word[1] = {join(c1.even0, c1.odd0), join(c1.even1, c1.odd1)};
        word[2] = {join(c2.even0, c2.odd0), join(c2.even1, c2.odd1)};
        word[3] = {join(c3.even0, c3.odd0), join(c3.even1, c3.odd1)};
    }

    THINNED_INLINE static __m256i join(__m256i even, __m256i odd) {
        return _mm256_blend_epi32(even, _mm256_shuffle_epi32(odd, 0xA0), 0xAA);
    }

    THINNED_INLINE void decide(const Joined &word, Mask16 masks[2]) const {
        const __m256i half = _mm256_set1_epi32(0xffff);
        masks[0] = {_mm256_cmpgt_epi32(threshold_, _mm256_and_si256(word.first, half)),
                    _mm256_cmpgt_epi32(threshold_, _mm256_and_si256(word.second, half))};
        masks[1] = {_mm256_cmpgt_epi32(threshold_, _mm256_srli_epi32(word.first, 16)),
                    _mm256_cmpgt_epi32(threshold_, _mm256_srli_epi32(word.second, 16))};
    }

    // The first round's product M0 * block is carried along by addition, until the block number's upper word changes.
    void restart() {
        const uint64_t block = 16 * group_;
        head_ = head_of(uint32_t(block >> 32), address_.call, address_.key);
        left_ = (0x100000000ull - uint32_t(block)) / 16;
        const __m256i m0 = wide(kMultiplier0);
        const auto product = [&](uint32_t first) {
            return _mm256_mul_epu32(_mm256_add_epi64(wide(uint32_t(block) + first), _mm256_setr_epi64x(0, 2, 4, 6)), m0);
        };
        product_ = {product(0), product(1), product(8), product(9)};
    }

    Address address_;
    uint64_t group_, left_;
    __m256i threshold_;
    Words product_;
    Head head_;
};

struct Floats {
    __m256 low, high;
};
struct Doubles {
    __m256d at[4];
};

struct Simd {
    using Mask = Mask16;
    using Generator = thinned::Generator;
    template <class T>
    using Vector = std::conditional_t<std::is_same_v<T, F64>, Doubles, Floats>;

    THINNED_INLINE static Mask mask_of(uint32_t bits) {
        const __m256i one = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128), all = _mm256_set1_epi32(int(bits));
        const __m256i two = _mm256_slli_epi32(one, 8);
        return {_mm256_cmpeq_epi32(_mm256_and_si256(all, one), one), _mm256_cmpeq_epi32(_mm256_and_si256(all, two), two)};
    }
    THINNED_INLINE static uint32_t bits_of(Mask m) {
        return uint32_t(_mm256_movemask_ps(_mm256_castsi256_ps(m.low))) |
               uint32_t(_mm256_movemask_ps(_mm256_castsi256_ps(m.high))) << 8;
    }

    template <class T>
    static Vector<T> set(double value) {
        if constexpr (std::is_same_v<T, F64>) {
            const __m256d v = _mm256_set1_pd(value);
            return {{v, v, v, v}};
        } else {
            return {_mm256_set1_ps(float(value)), _mm256_set1_ps(float(value))};
        }
    }

    template <class T>
    THINNED_INLINE static Vector<T> load(const void *p) {
        if constexpr (std::is_same_v<T, F32>) {
            const float *f = static_cast<const float *>(p);
            return {_mm256_loadu_ps(f), _mm256_loadu_ps(f + 8)};
        } else if constexpr (std::is_same_v<T, F64>) {
            const double *d = static_cast<const double *>(p);
            return {{_mm256_loadu_pd(d), _mm256_loadu_pd(d + 4), _mm256_loadu_pd(d + 8), _mm256_loadu_pd(d + 12)}};
        } else {
            const __m128i *h = static_cast<const __m128i *>(p);
            return {widened<T>(_mm_loadu_si128(h)), widened<T>(_mm_loadu_si128(h + 1))};
        }
    }

    template <class T>
    THINNED_INLINE static __m256 widened(__m128i halves) {
        if constexpr (std::is_same_v<T, F16>) return _mm256_cvtph_ps(halves);
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
    }

    template <class T>
    THINNED_INLINE static __m128i narrowed(__m256 v) {
        if constexpr (std::is_same_v<T, F16>) return _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        const __m256i bits = _mm256_castps_si256(v), upper = _mm256_srli_epi32(bits, 16);
        const __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
        const __m256i sum = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
        const __m256i nan = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
        const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
        const __m256i out = _mm256_blendv_epi8(_mm256_srli_epi32(sum, 16), nan, is_nan);
        return _mm_packus_epi32(_mm256_castsi256_si128(out), _mm256_extracti128_si256(out, 1));
    }

    template <class T, bool streaming = false>
    THINNED_INLINE static void store(void *p, const Vector<T> &v) {
        if constexpr (std::is_same_v<T, F32>) {
            put<streaming>(p, _mm256_castps_si256(v.low), 0);
            put<streaming>(p, _mm256_castps_si256(v.high), 1);
        } else if constexpr (std::is_same_v<T, F64>) {
            for (int i = 0; i < 4; ++i) put<streaming>(p, _mm256_castpd_si256(v.at[i]), i);
        } else {
            put<streaming>(p, _mm256_set_m128i(narrowed<T>(v.high), narrowed<T>(v.low)), 0);
        }
    }
    template <class T>
    THINNED_INLINE static void stream(void *p, const Vector<T> &v) {
        store<T, true>(p, v);
    }
    template <bool streaming>
    THINNED_INLINE static void put(void *p, __m256i v, int i) {
        if constexpr (streaming)
            _mm256_stream_si256(static_cast<__m256i *>(p) + i, v);
        else
            _mm256_storeu_si256(static_cast<__m256i *>(p) + i, v);
    }
    static void fence() { _mm_sfence(); }

    template <class T>
    THINNED_INLINE static Vector<T> rounded(const Vector<T> &v) {
        if constexpr (T::size == 2)
            return {widened<T>(narrowed<T>(v.low)), widened<T>(narrowed<T>(v.high))};
        else
            return v;
    }

    THINNED_INLINE static Floats scaled(const Mask &m, const Floats &x, const Floats &scale) {
        return {_mm256_and_ps(_mm256_castsi256_ps(m.low), _mm256_mul_ps(x.low, scale.low)),
                _mm256_and_ps(_mm256_castsi256_ps(m.high), _mm256_mul_ps(x.high, scale.high))};
    }
    THINNED_INLINE static Floats add(const Floats &a, const Floats &b) {
        return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
    }
    THINNED_INLINE static Floats multiply(const Floats &a, const Floats &b) {
        return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
    }
    THINNED_INLINE static Floats choose(const Mask &m, const Floats &kept, const Floats &dropped) {
        return {_mm256_blendv_ps(dropped.low, kept.low, _mm256_castsi256_ps(m.low)),
                _mm256_blendv_ps(dropped.high, kept.high, _mm256_castsi256_ps(m.high))};
    }

    // the mask of four doubles, number i of 16
    THINNED_INLINE static __m256d quarter(const Mask &m, int i) {
        const __m256i half = i < 2 ? m.low : m.high;
        const __m128i four = i & 1 ? _mm256_extracti128_si256(half, 1) : _mm256_castsi256_si128(half);
        return _mm256_castsi256_pd(_mm256_cvtepi32_epi64(four));
    }
    template <class Function>
    THINNED_INLINE static Doubles quarters(Function f) {
        return {{f(0), f(1), f(2), f(3)}};
    }
    THINNED_INLINE static Doubles scaled(const Mask &m, const Doubles &x, const Doubles &scale) {
        return quarters([&](int i) { return _mm256_and_pd(quarter(m, i), _mm256_mul_pd(x.at[i], scale.at[i])); });
    }
    THINNED_INLINE static Doubles add(const Doubles &a, const Doubles &b) {
        return quarters([&](int i) { return _mm256_add_pd(a.at[i], b.at[i]); });
    }
    THINNED_INLINE static Doubles multiply(const Doubles &a, const Doubles &b) {
        return quarters([&](int i) { return _mm256_mul_pd(a.at[i], b.at[i]); });
    }
    THINNED_INLINE static Doubles choose(const Mask &m, const Doubles &kept, const Doubles &dropped) {
        return quarters([&](int i) { return _mm256_blendv_pd(dropped.at[i], kept.at[i], quarter(m, i)); });
    }
};

}  // namespace
}  // namespace thinned

#include "generic.h"

namespace thinned {

extern const Kernels kAvx2 = kernels_named("avx2");

}  // namespace thinned
