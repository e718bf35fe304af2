// The loops, written once over the vector type `Simd` that the including file defines for its instruction set.
//
// Simd works on 16 elements at a time, the width of one half word of a group's 16 blocks, and offers
//   Mask                             16 decisions;  mask_of(uint32_t) and bits_of(Mask) convert to and from packed bits
//   Generator(Address, group)        .next(Mask[8]): the decisions of the next group;  .words(uint32_t[64]): its words
//   Vector<T>, set<T>, load<T>, store<T>, stream<T>      T is one of F32, F64, BF16, F16
//   scaled(mask, x, scale)           kept: x * scale, else 0
//   add, multiply, choose(mask, kept, dropped), rounded<T> (to what T stores)
// Everything has internal linkage: see philox.h.
#pragma once
#include <cstring>

#include "kernels.h"
#include "normal.h"

namespace thinned {
namespace {

template <class T, Mode mode>
struct Epilogue {
    using Vector = typename Simd::template Vector<T>;
    Vector scale, shift, dropped;

    explicit Epilogue(const Arithmetic &a)
        : scale(Simd::template set<T>(a.scale)), shift(Simd::template set<T>(a.shift)), dropped(Simd::template set<T>(a.dropped)) {}

    // Selected, never multiplied by the mask: a dropped NaN or infinity becomes 0.
    THINNED_INLINE Vector operator()(typename Simd::Mask mask, const void *src, const void *residual) const {
        const Vector x = Simd::template load<T>(src);
        if constexpr (mode == Mode::plain) {
            return Simd::scaled(mask, x, scale);
        } else if constexpr (mode == Mode::residual) {
            // rounded first, so that the sum is bitwise residual + dropout(x)
            return Simd::add(Simd::template load<T>(residual), Simd::template rounded<T>(Simd::scaled(mask, x, scale)));
        } else {
            return Simd::choose(mask, Simd::add(Simd::multiply(x, scale), shift), dropped);
        }
    }
};

// Pointers that move together.
template <class T>
struct Cursor {
    char *dst;
    const char *src, *residual;
    static constexpr int64_t size = T::size;

    explicit Cursor(const Operands &o)
        : dst(static_cast<char *>(o.dst)),
          src(static_cast<const char *>(o.src)),
          residual(static_cast<const char *>(o.residual)) {}

    template <Mode mode>
    THINNED_INLINE void advance(int64_t n) {
        dst += n * size;
        src += n * size;
        if constexpr (mode == Mode::residual) residual += n * size;
    }
};

template <class T, Mode mode>
THINNED_INLINE void sixteen(Cursor<T> &cursor, typename Simd::Mask mask, const Epilogue<T, mode> &epilogue) {
    Simd::template store<T>(cursor.dst, epilogue(mask, cursor.src, cursor.residual));
    cursor.template advance<mode>(16);
}

// Fewer than 16 elements go through a buffer, so that nothing is read or written past the end.
template <class T, Mode mode>
inline void rest(const Cursor<T> &cursor, typename Simd::Mask mask, int64_t n, const Epilogue<T, mode> &epilogue) {
    alignas(64) char src[16 * T::size] = {}, residual[16 * T::size] = {}, dst[16 * T::size];
    std::memcpy(src, cursor.src, size_t(n * T::size));
    if (mode == Mode::residual) std::memcpy(residual, cursor.residual, size_t(n * T::size));
    Simd::template store<T>(dst, epilogue(mask, src, residual));
    std::memcpy(cursor.dst, dst, size_t(n * T::size));
}

template <class T, Mode mode, bool stream>
void groups(Cursor<T> &cursor, typename Simd::Generator &generator, int64_t count, const Epilogue<T, mode> &epilogue) {
    for (int64_t g = 0; g < count; ++g) {
        typename Simd::Mask masks[8];
        generator.next(masks);
        for (int j = 0; j < 8; ++j) {
            const auto out = epilogue(masks[j], cursor.src + j * 16 * T::size, cursor.residual + j * 16 * T::size);
            if constexpr (stream)
                Simd::template stream<T>(cursor.dst + j * 16 * T::size, out);
            else
                Simd::template store<T>(cursor.dst + j * 16 * T::size, out);
        }
        cursor.template advance<mode>(128);
    }
}

template <class T, Mode mode>
void run_mode(const Operands &o, uint64_t group, int64_t n, const Address &a, const Arithmetic &arithmetic, bool stream) {
    const Epilogue<T, mode> epilogue(arithmetic);
    typename Simd::Generator generator(a, group);
    Cursor<T> cursor(o);
    if (stream && reinterpret_cast<uintptr_t>(o.dst) % 64 == 0) {
        groups<T, mode, true>(cursor, generator, n / 128, epilogue);
        Simd::fence();
    } else {
        groups<T, mode, false>(cursor, generator, n / 128, epilogue);
    }
    int64_t left = n % 128;
    if (left == 0) return;
    typename Simd::Mask masks[8];
    generator.next(masks);
    int j = 0;
    for (; left >= 16; left -= 16) sixteen(cursor, masks[j++], epilogue);
    if (left > 0) rest(cursor, masks[j], left, epilogue);
}

template <class T>
void run(const Operands &o, uint64_t group, int64_t n, const Address &a, const Arithmetic &arithmetic, bool stream) {
    switch (arithmetic.mode) {
        case Mode::plain: return run_mode<T, Mode::plain>(o, group, n, a, arithmetic, stream);
        case Mode::residual: return run_mode<T, Mode::residual>(o, group, n, a, arithmetic, stream);
        case Mode::affine: return run_mode<T, Mode::affine>(o, group, n, a, arithmetic, stream);
    }
}

THINNED_INLINE typename Simd::Mask mask_at(const uint8_t *bits, int64_t first) {
    uint32_t window;  // 16 bits at any bit position lie within 3 bytes
    std::memcpy(&window, bits + (first >> 3), 4);
    return Simd::mask_of((window >> (first & 7)) & 0xffffu);
}

template <class T, Mode mode>
void apply_mode(const Operands &o, const uint8_t *bits, int64_t first, int64_t n, const Arithmetic &arithmetic) {
    const Epilogue<T, mode> epilogue(arithmetic);
    Cursor<T> cursor(o);
    for (; n >= 16; n -= 16, first += 16) sixteen(cursor, mask_at(bits, first), epilogue);
    if (n > 0) rest(cursor, mask_at(bits, first), n, epilogue);
}

template <class T>
void apply(const Operands &o, const uint8_t *bits, int64_t first, int64_t n, const Arithmetic &arithmetic) {
    switch (arithmetic.mode) {
        case Mode::plain: return apply_mode<T, Mode::plain>(o, bits, first, n, arithmetic);
        case Mode::residual: return apply_mode<T, Mode::residual>(o, bits, first, n, arithmetic);
        case Mode::affine: return apply_mode<T, Mode::affine>(o, bits, first, n, arithmetic);
    }
}

template <class T, Mode mode>
void constant_mode(const Operands &o, bool kept, int64_t n, const Arithmetic &arithmetic) {
    const Epilogue<T, mode> epilogue(arithmetic);
    const typename Simd::Mask mask = Simd::mask_of(kept ? 0xffffu : 0u);
    Cursor<T> cursor(o);
    for (; n >= 16; n -= 16) sixteen(cursor, mask, epilogue);
    if (n > 0) rest(cursor, mask, n, epilogue);
}

template <class T>
void constant(const Operands &o, bool kept, int64_t n, const Arithmetic &arithmetic) {
    switch (arithmetic.mode) {
        case Mode::plain:
            if (!kept) return void(std::memset(o.dst, 0, size_t(n * T::size)));
            return constant_mode<T, Mode::plain>(o, kept, n, arithmetic);
        case Mode::residual: return constant_mode<T, Mode::residual>(o, kept, n, arithmetic);
        case Mode::affine: return constant_mode<T, Mode::affine>(o, kept, n, arithmetic);
    }
}

void bits(uint8_t *dst, uint64_t group, int64_t count, const Address &a) {
    typename Simd::Generator generator(a, group);
    for (int64_t g = 0; g < count; ++g, dst += 16) {
        typename Simd::Mask masks[8];
        generator.next(masks);
        for (int j = 0; j < 8; ++j) {
            const uint16_t packed = uint16_t(Simd::bits_of(masks[j]));
            std::memcpy(dst + 2 * j, &packed, 2);  // all machines in question are little-endian
        }
    }
}

// 8 rows of some words at a time, every step a loop over the words for the compiler to vectorise: first bytes are
// transposed between rows, then bits within words (Hacker's Delight, 7-3).
template <int words>
void turn_words(uint8_t *dst, const uint64_t *src, int64_t rows) {
    for (int64_t i = 0; i < rows / 8; ++i, src += kTileMask / 8) {
        uint64_t b[8][words];
        for (int k = 0; k < 8; ++k) std::memcpy(b[k], src + k * kTileMask / 64, sizeof b[k]);
        const uint64_t halves[3] = {0x00000000FFFFFFFFull, 0x0000FFFF0000FFFFull, 0x00FF00FF00FF00FFull};
        for (int stage = 0, step = 4; stage < 3; ++stage, step /= 2)
            for (int k = 0; k < 8; ++k) {
                if (k & step) continue;
                for (int w = 0; w < words; ++w) {
                    const uint64_t t = ((b[k][w] >> (8 * step)) ^ b[k + step][w]) & halves[stage];
                    b[k + step][w] ^= t;
                    b[k][w] ^= t << (8 * step);
                }
            }
        for (int j = 0; j < 8; ++j)
            for (int w = 0; w < words; ++w) {
                uint64_t x = b[j][w], t = (x ^ (x >> 7)) & 0x00AA00AA00AA00AAull;
                x ^= t ^ (t << 7);
                t = (x ^ (x >> 14)) & 0x0000CCCC0000CCCCull;
                x ^= t ^ (t << 14);
                t = (x ^ (x >> 28)) & 0x00000000F0F0F0F0ull;
                b[j][w] = x ^ t ^ (t << 28);
            }
        for (int w = 0; w < words; ++w)
            for (int j = 0; j < 8; ++j)
                for (int k = 0; k < 8; ++k)
                    dst[(64 * w + 8 * j + k) * (kTileMemory / 8) + i] = uint8_t(b[j][w] >> (8 * k));
    }
}

void turn(uint8_t *dst, const uint64_t *src, int64_t rows, int64_t columns) {
    static_assert(kTileMask == 512, "a row is 8 words");
    if (columns <= 64) return turn_words<1>(dst, src, rows);
    if (columns <= 128) return turn_words<2>(dst, src, rows);
    if (columns <= 256) return turn_words<4>(dst, src, rows);
    turn_words<8>(dst, src, rows);
}

void words(uint32_t *dst, uint64_t group, int64_t count, const Address &a) {
    typename Simd::Generator generator(a, group);
    for (int64_t g = 0; g < count; ++g, dst += 64) generator.words(dst);
}

void normals(float *dst, uint64_t group, int64_t count, const Address &a) {
    typename Simd::Generator generator(a, group);
    for (int64_t g = 0; g < count; ++g, dst += 64) {
        uint32_t words[64];
        generator.words(words);
        for (int e = 0; e < 64; ++e) dst[e] = normal_of(words[e]);
    }
}

constexpr Kernels kernels_named(const char *name) {
    return {name,
            &bits,
            &turn,
            &words,
            &normals,
            {&run<F32>, &run<F64>, &run<BF16>, &run<F16>},
            {&apply<F32>, &apply<F64>, &apply<BF16>, &apply<F16>},
            {&constant<F32>, &constant<F64>, &constant<BF16>, &constant<F16>}};
}

}  // namespace
}  // namespace thinned
