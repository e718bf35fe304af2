// AVX-512 (F, BW, DQ, VL): one register holds a 32-bit word of all 16 blocks of a group.
#include <immintrin.h>

#include <type_traits>

#include "kernels.h"
#include "philox.h"
#include "types.h"

namespace thinned {
namespace {

// Philox on even and odd blocks apart, each block's word in the low half of a 64-bit lane: that is what the 32 x 32 -> 64
// multiplication reads, and the upper half may hold anything, so no word is ever moved between lanes before the end.
struct Words {
    __m512i even, odd;
};

inline __m512i each(uint32_t word) { return _mm512_set1_epi64(int64_t(word)); }
inline __m512i high(__m512i product) { return _mm512_srli_epi64(product, 32); }
inline __m512i xor3(__m512i a, __m512i b, __m512i c) { return _mm512_ternarylogic_epi64(a, b, c, 0x96); }
// words of even and odd blocks back in block order
inline __m512i join_low(Words p) { return _mm512_mask_shuffle_epi32(p.even, 0xAAAA, p.odd, _MM_PERM_CCAA); }
inline __m512i join_high(Words p) { return _mm512_mask_shuffle_epi32(p.odd, 0x5555, p.even, _MM_PERM_DDBB); }

inline Words times(Words c, __m512i m) { return {_mm512_mul_epu32(c.even, m), _mm512_mul_epu32(c.odd, m)}; }
inline Words high_xor(Words p, __m512i constant) {
    return {_mm512_xor_si512(high(p.even), constant), _mm512_xor_si512(high(p.odd), constant)};
}
inline Words high_xor(Words p, Words c, __m512i constant) {
    return {xor3(high(p.even), c.even, constant), xor3(high(p.odd), c.odd, constant)};
}

class Generator {
public:
    Generator(const Address &a, uint64_t group) : address_(a), group_(group), threshold_(_mm512_set1_epi32(int(a.keep << 16))) {
        restart();
    }

    THINNED_INLINE void next(__mmask16 masks[8]) {
        __m512i word[4];
        words(word);
        for (int w = 0; w < 4; ++w) decide(word[w], masks + 2 * w);
    }

    // The 64 words of a group: word w of block b at 16 * w + b.
    void words(uint32_t out[64]) {
        __m512i word[4];
        words(word);
        for (int w = 0; w < 4; ++w) _mm512_storeu_si512(out + 16 * w, word[w]);
    }

private:
    THINNED_INLINE void words(__m512i word[4]) {
        if (left_ == 0) restart();
        --left_;
        ++group_;
        const __m512i m0 = each(kMultiplier0), m1 = each(kMultiplier1);
        Words p0 = product_, p1, c0, c2;
        product_ = {_mm512_add_epi64(p0.even, each2(16)), _mm512_add_epi64(p0.odd, each2(16))};
        p1 = times(high_xor(p0, each(head_.c2_round1)), m1);
        c0 = high_xor(p1, each(head_.c0_round2));
        const __m512i round2 = each(head_.c2_round2);
        c2 = {_mm512_xor_si512(p0.even, round2), _mm512_xor_si512(p0.odd, round2)};
        Words c1 = p1;
        p0 = times(c0, m0), p1 = times(c2, m1);
        c0 = high_xor(p1, c1, each(head_.k0[2])), c1 = p1;
        c2 = high_xor(p0, each(head_.c2_round3));
        Words c3 = p0;
#pragma GCC unroll 6
        for (int round = 3; round < 9; ++round) {
            p0 = times(c0, m0), p1 = times(c2, m1);
            c0 = high_xor(p1, c1, each(head_.k0[round])), c1 = p1;
            c2 = high_xor(p0, c3, each(head_.k1[round])), c3 = p0;
        }
        p0 = times(c0, m0), p1 = times(c2, m1);
        word[0] = xor3(join_high(p1), join_low(c1), _mm512_set1_epi32(int(head_.k0[9])));
        word[1] = join_low(p1);
        word[2] = xor3(join_high(p0), join_low(c3), _mm512_set1_epi32(int(head_.k1[9])));
        word[3] = join_low(p0);
    }

    static __m512i each2(uint64_t blocks) { return _mm512_set1_epi64(int64_t(blocks * kMultiplier0)); }

    THINNED_INLINE void decide(__m512i word, __mmask16 masks[2]) const {
        masks[0] = _mm512_cmplt_epu32_mask(_mm512_slli_epi32(word, 16), threshold_);
        masks[1] = _mm512_cmplt_epu32_mask(word, threshold_);  // the lower half can't change this comparison
    }

    // The first round's product M0 * block is carried along by addition, until the block number's upper word changes.
    void restart() {
        const uint64_t block = 16 * group_;
        head_ = head_of(uint32_t(block >> 32), address_.call, address_.key);
        left_ = (0x100000000ull - uint32_t(block)) / 16;
        const __m512i first = each(uint32_t(block)), m0 = each(kMultiplier0);
        product_ = {_mm512_mul_epu32(_mm512_add_epi64(first, _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14)), m0),
                    _mm512_mul_epu32(_mm512_add_epi64(first, _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15)), m0)};
    }

    Address address_;
    uint64_t group_, left_;
    __m512i threshold_;
    Words product_;
    Head head_;
};

struct Doubles {
    __m512d low, high;
};

template <class T>
struct VectorOf {  // not std::conditional_t, to which gcc would pass __m512 without its alignment
    using type = __m512;
};
template <>
struct VectorOf<F64> {
    using type = Doubles;
};

struct Simd {
    using Mask = __mmask16;
    static Mask mask_of(uint32_t bits) { return Mask(bits); }
    static uint32_t bits_of(Mask mask) { return mask; }

    using Generator = thinned::Generator;

    template <class T>
    using Vector = typename VectorOf<T>::type;

    template <class T>
    static Vector<T> set(double value) {
        if constexpr (std::is_same_v<T, F64>)
            return {_mm512_set1_pd(value), _mm512_set1_pd(value)};
        else
            return _mm512_set1_ps(float(value));
    }

    template <class T>
    static Vector<T> load(const void *p) {
        if constexpr (std::is_same_v<T, F32>) {
            return _mm512_loadu_ps(p);
        } else if constexpr (std::is_same_v<T, F64>) {
            return {_mm512_loadu_pd(p), _mm512_loadu_pd(static_cast<const double *>(p) + 8)};
        } else {
            return widened<T>(_mm256_loadu_si256(static_cast<const __m256i *>(p)));
        }
    }

    template <class T>
    static __m512 widened(__m256i halves) {
        if constexpr (std::is_same_v<T, F16>) return _mm512_cvtph_ps(halves);
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
    }

    template <class T>
    static __m256i narrowed(__m512 v) {
        if constexpr (std::is_same_v<T, F16>) return _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        // not VCVTNEPS2BF16: that one flushes subnormals
        const __m512i bits = _mm512_castps_si512(v), upper = _mm512_srli_epi32(bits, 16);
        const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
        const __m512i sum = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
        const __m512i nan = _mm512_or_si512(upper, _mm512_set1_epi32(0x40));
        const __mmask16 is_nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
        return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(_mm512_srli_epi32(sum, 16), is_nan, nan));
    }

    template <class T>
    static void store(void *p, Vector<T> v) {
        if constexpr (std::is_same_v<T, F32>) {
            _mm512_storeu_ps(p, v);
        } else if constexpr (std::is_same_v<T, F64>) {
            _mm512_storeu_pd(p, v.low);
            _mm512_storeu_pd(static_cast<double *>(p) + 8, v.high);
        } else {
            _mm256_storeu_si256(static_cast<__m256i *>(p), narrowed<T>(v));
        }
    }

    template <class T>
    static void stream(void *p, Vector<T> v) {
        if constexpr (std::is_same_v<T, F32>) {
            _mm512_stream_ps(static_cast<float *>(p), v);
        } else if constexpr (std::is_same_v<T, F64>) {
            _mm512_stream_pd(static_cast<double *>(p), v.low);
            _mm512_stream_pd(static_cast<double *>(p) + 8, v.high);
        } else {
            _mm256_stream_si256(static_cast<__m256i *>(p), narrowed<T>(v));
        }
    }
    static void fence() { _mm_sfence(); }

    template <class T>
    static Vector<T> rounded(Vector<T> v) {
        if constexpr (T::size == 2)
            return widened<T>(narrowed<T>(v));
        else
            return v;
    }

    static __m512 scaled(Mask mask, __m512 x, __m512 scale) { return _mm512_maskz_mul_ps(mask, x, scale); }
    static __m512 add(__m512 a, __m512 b) { return _mm512_add_ps(a, b); }
    static __m512 multiply(__m512 a, __m512 b) { return _mm512_mul_ps(a, b); }
    static __m512 choose(Mask mask, __m512 kept, __m512 dropped) { return _mm512_mask_mov_ps(dropped, mask, kept); }

    static Doubles scaled(Mask mask, Doubles x, Doubles scale) {
        return {_mm512_maskz_mul_pd(__mmask8(mask), x.low, scale.low),
                _mm512_maskz_mul_pd(__mmask8(mask >> 8), x.high, scale.high)};
    }
    static Doubles add(Doubles a, Doubles b) { return {_mm512_add_pd(a.low, b.low), _mm512_add_pd(a.high, b.high)}; }
    static Doubles multiply(Doubles a, Doubles b) {
        return {_mm512_mul_pd(a.low, b.low), _mm512_mul_pd(a.high, b.high)};
    }
    static Doubles choose(Mask mask, Doubles kept, Doubles dropped) {
        return {_mm512_mask_mov_pd(dropped.low, __mmask8(mask), kept.low),
                _mm512_mask_mov_pd(dropped.high, __mmask8(mask >> 8), kept.high)};
    }
};

}  // namespace
}  // namespace thinned

#include "generic.h"

namespace thinned {

extern const Kernels kAvx512 = kernels_named("avx512");

}  // namespace thinned
