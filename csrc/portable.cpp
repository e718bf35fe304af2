// Any machine, and the oracle of the faster ones.
#include <cstring>
#include <type_traits>

#include "half.h"
#include "kernels.h"
#include "philox.h"
#include "types.h"

namespace thinned {
namespace {

class Generator {
public:
    Generator(const Address &a, uint64_t group) : address_(a), group_(group) {}

    void next(uint16_t masks[8]) {
        for (unsigned j = 0; j < 8; ++j) masks[j] = 0;
        for (unsigned b = 0; b < 16; ++b) {
            const Block out = philox_block(16 * group_ + b, address_.call, address_.key);
            for (unsigned j = 0; j < 8; ++j) {
                const uint32_t lane = (out.word[j >> 1] >> (16 * (j & 1))) & 0xffffu;
                masks[j] = uint16_t(masks[j] | (uint32_t(lane < address_.keep) << b));
            }
        }
        ++group_;
    }

    // The 64 words of a group: word w of block b at 16 * w + b.
    void words(uint32_t out[64]) {
        for (unsigned b = 0; b < 16; ++b) {
            const Block block = philox_block(16 * group_ + b, address_.call, address_.key);
            for (unsigned w = 0; w < 4; ++w) out[16 * w + b] = block.word[w];
        }
        ++group_;
    }

private:
    Address address_;
    uint64_t group_;
};

template <class Scalar>
struct Sixteen {
    Scalar at[16];
};

struct Simd {
    using Mask = uint16_t;
    using Generator = thinned::Generator;
    static Mask mask_of(uint32_t bits) { return Mask(bits); }
    static uint32_t bits_of(Mask mask) { return mask; }

    template <class T>
    using Scalar = std::conditional_t<std::is_same_v<T, F64>, double, float>;
    template <class T>
    using Vector = Sixteen<Scalar<T>>;

    template <class Function>
    static auto each(Function function) {
        Sixteen<decltype(function(0))> out;
        for (int e = 0; e < 16; ++e) out.at[e] = function(e);
        return out;
    }

    template <class T>
    static Vector<T> set(double value) {
        return each([=](int) { return Scalar<T>(value); });
    }

    template <class T>
    static Vector<T> load(const void *p) {
        if constexpr (T::size == 2) {
            Sixteen<uint16_t> halves;
            std::memcpy(&halves, p, sizeof halves);
            return widened<T>(halves);
        } else {
            Vector<T> out;
            std::memcpy(&out, p, sizeof out);
            return out;
        }
    }

    template <class T>
    static Vector<T> widened(const Sixteen<uint16_t> &v) {
        return each([&](int e) {
            return std::is_same_v<T, BF16> ? float_from_bfloat16(v.at[e]) : float_from_float16(v.at[e]);
        });
    }

    template <class T>
    static Sixteen<uint16_t> narrowed(const Vector<T> &v) {
        return each([&](int e) {
            return std::is_same_v<T, BF16> ? bfloat16_from_float(v.at[e]) : float16_from_float(v.at[e]);
        });
    }

    template <class T>
    static void store(void *p, const Vector<T> &v) {
        if constexpr (T::size == 2) {
            const Sixteen<uint16_t> halves = narrowed<T>(v);
            std::memcpy(p, &halves, sizeof halves);
        } else {
            std::memcpy(p, &v, sizeof v);
        }
    }
    template <class T>
    static void stream(void *p, const Vector<T> &v) {
        store<T>(p, v);
    }
    static void fence() {}

    template <class T>
    static Vector<T> rounded(const Vector<T> &v) {
        if constexpr (T::size == 2)
            return widened<T>(narrowed<T>(v));
        else
            return v;
    }

    template <class S>
    static Sixteen<S> scaled(Mask mask, const Sixteen<S> &x, const Sixteen<S> &scale) {
        return each([&](int e) { return (mask >> e) & 1 ? x.at[e] * scale.at[e] : S(0); });
    }
    template <class S>
    static Sixteen<S> add(const Sixteen<S> &a, const Sixteen<S> &b) {
        return each([&](int e) { return a.at[e] + b.at[e]; });
    }
    template <class S>
    static Sixteen<S> multiply(const Sixteen<S> &a, const Sixteen<S> &b) {
        return each([&](int e) { return a.at[e] * b.at[e]; });
    }
    template <class S>
    static Sixteen<S> choose(Mask mask, const Sixteen<S> &kept, const Sixteen<S> &dropped) {
        return each([&](int e) { return (mask >> e) & 1 ? kept.at[e] : dropped.at[e]; });
    }
};

}  // namespace
}  // namespace thinned

#include "generic.h"

namespace thinned {

extern const Kernels kPortable = kernels_named("portable");

}  // namespace thinned
