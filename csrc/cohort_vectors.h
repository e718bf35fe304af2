// Vectors for the trainer, by the compiler's vector extensions, and the products of matrices. The including file defines
// `Lanes<T>` for its instruction set: the number `width` of elements of a vector, the rows `tile` and the vectors
// `across` of a tile of a product, the rows `low` of a lower tile, and `root`. Rows that a product is cut into are at least
// `low`, and a multiple of `unit`, so that tiles and lower tiles make them up. Everything has internal linkage: see philox.h.
#pragma once
#include <cstdint>
#include <utility>

#include "cohort.h"
#include "types.h"

namespace thinned {
namespace {

template <class T>
struct Vectors {
    static constexpr int width = Lanes<T>::width, across = Lanes<T>::across, tile = Lanes<T>::tile,
                         low = Lanes<T>::low, unit = low < tile ? tile - low : tile;
    static constexpr int panel = width * across;
    using Bits = std::conditional_t<sizeof(T) == 8, int64_t, int32_t>;
    typedef T V __attribute__((vector_size(width * sizeof(T))));
    typedef Bits I __attribute__((vector_size(width * sizeof(T))));

    THINNED_INLINE static V load(const T *p) {
        V v;
        __builtin_memcpy(&v, p, sizeof v);
        return v;
    }
    THINNED_INLINE static void store(T *p, V v) { __builtin_memcpy(p, &v, sizeof v); }
    THINNED_INLINE static V set(T value) { return value - V{}; }
    THINNED_INLINE static V root(V v) { return Lanes<T>::root(v); }
    // NaN stays NaN
    THINNED_INLINE static V relu(V v) { return (V)((I)v & ~(I)(v < V{})); }
    // `v` where the unit was active; where its output is NaN, too
    THINNED_INLINE static V gated(V v, V output) { return (V)((I)v & ~(I)(output <= V{})); }
    THINNED_INLINE static V masked(V v, I mask) { return (V)((I)v & mask); }
    // The decisions from bit `at` on, as masks.
    THINNED_INLINE static I mask(const uint8_t *bits, int64_t at) {
        uint32_t window;
        __builtin_memcpy(&window, bits + (at >> 3), 4);
        const I all = Bits(window >> (at & 7)) - I{};
        return (I)((all & lane_bits(std::make_integer_sequence<Bits, width>{})) != I{});
    }
    template <Bits... lane>
    THINNED_INLINE static I lane_bits(std::integer_sequence<Bits, lane...>) {
        return I{(Bits(1) << lane)...};
    }
    THINNED_INLINE static T sum(V v) {
        T total = 0;
        for (int i = 0; i < width; ++i) total += v[i];
        return total;
    }

    // Swaps the lanes whose number has bit `step` with those of the vector `step` further that don't.
    template <int step, int... lane>
    THINNED_INLINE static void exchange(V &a, V &b, std::integer_sequence<int, lane...>) {
        const V first = __builtin_shufflevector(a, b, ((lane & step) ? width + lane - step : lane)...);
        b = __builtin_shufflevector(a, b, ((lane & step) ? width + lane : lane + step)...);
        a = first;
    }
    template <int step>
    THINNED_INLINE static void exchange_all(V *rows) {
        if constexpr (step > 0) {
#pragma GCC unroll 16
            for (int i = 0; i < width; ++i)
                if ((i & step) == 0) exchange<step>(rows[i], rows[i + step], std::make_integer_sequence<int, width>{});
            exchange_all<step / 2>(rows);
        }
    }
    // A square of vectors, rows for columns.
    THINNED_INLINE static void transpose(V *rows) { exchange_all<width / 2>(rows); }

    // The rows of the next tile, of those that are left.
    THINNED_INLINE static int next(int64_t left) { return left % tile == 0 ? tile : low; }

    // A tile of a product, by the number of its rows; see below.
    THINNED_INLINE static void product(int rows, const T *a, int64_t a_row, int64_t a_k, int64_t a_segment, const T *b,
                                       int64_t b_k, int64_t depth, int64_t segments, T *out) {
        if (rows == tile) return product_of<tile>(a, a_row, a_k, a_segment, b, b_k, depth, segments, out);
        product_of<low>(a, a_row, a_k, a_segment, b, b_k, depth, segments, out);
    }
    THINNED_INLINE static void product(int rows, const T *const *a, const T *b, const Term *terms, int64_t count, T *out) {
        if (rows == tile) return product_of<tile>(a, b, terms, count, out);
        product_of<low>(a, b, terms, count, out);
    }
    // A tile of a product, `rows` by `across` vectors, into `out`: the sum over segments s and over k of
    // a[row * a_row + k * a_k + s * a_segment] * b[(s * depth + k) * b_k + column].
    // Apart from what follows it: inlined there, its sums would leave the registers.
    template <int rows>
    __attribute__((noinline)) static void product_of(const T *a, int64_t a_row, int64_t a_k, int64_t a_segment,
                                                     const T *b, int64_t b_k, int64_t depth, int64_t segments, T *out) {
        V sums[rows][across];
        clear<rows>(sums);
        for (int64_t s = 0; s < segments; ++s, a += a_segment) {
            const T *at = a;
#pragma GCC unroll 4
            for (int64_t k = 0; k < depth; ++k, at += a_k, b += b_k)
                add<rows>(sums, b, [&](int i) __attribute__((always_inline)) { return at[i * a_row]; });
        }
        write<rows>(sums, out);
    }
    // The same of single terms: the sum over them of a[row][term.a] * b[term.b + column].
    template <int rows>
    __attribute__((noinline)) static void product_of(const T *const *a, const T *b, const Term *terms, int64_t count,
                                                     T *out) {
        V sums[rows][across];
        const T *at[rows];
        clear<rows>(sums);
        for (int i = 0; i < rows; ++i) at[i] = a[i];
#pragma GCC unroll 2
        for (int64_t t = 0; t < count; ++t)
            add<rows>(sums, b + terms[t].b, [&](int i) __attribute__((always_inline)) { return at[i][terms[t].a]; });
        write<rows>(sums, out);
    }

private:
    template <int rows>
    THINNED_INLINE static void clear(V (*sums)[across]) {
#pragma GCC unroll 16
        for (int i = 0; i < rows; ++i)
#pragma GCC unroll 4
            for (int j = 0; j < across; ++j) sums[i][j] = V{};
    }
    template <int rows, class Value>
    THINNED_INLINE static void add(V (*sums)[across], const T *b, Value value) {
        V columns[across];
#pragma GCC unroll 4
        for (int j = 0; j < across; ++j) columns[j] = load(b + j * width);
#pragma GCC unroll 16
        for (int i = 0; i < rows; ++i) {
            const V each = set(value(i));
#pragma GCC unroll 4
            for (int j = 0; j < across; ++j) sums[i][j] += each * columns[j];
        }
    }
    template <int rows>
    THINNED_INLINE static void write(V (*sums)[across], T *out) {
#pragma GCC unroll 16
        for (int i = 0; i < rows; ++i)
#pragma GCC unroll 4
            for (int j = 0; j < across; ++j) store(out + (i * across + j) * width, sums[i][j]);
    }
};

}  // namespace
}  // namespace thinned
