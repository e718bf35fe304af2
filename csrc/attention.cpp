#include "attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "dropout.h"
#include "half.h"
#include "threads.h"
#include "types.h"

// Plain loops that gcc vectorises for each instruction set; the one to run is chosen at load time. What differs between
// them is rounding alone: decisions come from the kernels. Not under ThreadSanitizer, which the choice would come before.
#if defined(THINNED_X86) && defined(__GNUC__) && !defined(__clang__) && defined(__linux__) && !defined(__SANITIZE_THREAD__)
#define THINNED_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define THINNED_CLONES
#endif

namespace thinned {
namespace {

constexpr int64_t kLanes = 16;  // partial sums and maxima of a row

// e^x for x <= 0 (the polynomial of Cephes' expf): 0 below -87.3, NaN for NaN.
THINNED_INLINE float exp_of(float x) {
    const float n = (x * 1.44269504088896341f + 12582912.0f) - 12582912.0f;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float y = 1.9875691500e-4f;
    y = y * r + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = (y * (r * r) + r) + 1.0f;
    const float power = float_of(uint32_t(int32_t(n >= -126.0f ? n : -126.0f) + 127) << 23);
    return x < -87.3f ? 0.0f : y * power;
}

THINNED_CLONES
void forward_row(float *row, float *lse, int64_t n, const uint8_t *keep, float scale) {
    float largest[kLanes], sums[kLanes] = {};
    std::fill(largest, largest + kLanes, -std::numeric_limits<float>::infinity());
    const int64_t whole = n / kLanes * kLanes;
    for (int64_t i = 0; i < whole; i += kLanes)
        for (int64_t j = 0; j < kLanes; ++j) largest[j] = row[i + j] > largest[j] ? row[i + j] : largest[j];
    for (int64_t i = whole; i < n; ++i) largest[i - whole] = std::max(largest[i - whole], row[i]);
    const float top = *std::max_element(largest, largest + kLanes);
    if (top == -std::numeric_limits<float>::infinity()) {
        *lse = -top;
        std::fill(row, row + n, 0.0f);
        return;
    }
    for (int64_t i = 0; i < whole; i += kLanes)
        for (int64_t j = 0; j < kLanes; ++j) sums[j] += row[i + j] = exp_of(row[i + j] - top);
    for (int64_t i = whole; i < n; ++i) sums[i - whole] += row[i] = exp_of(row[i] - top);
    double sum = 0;
    for (float part : sums) sum += double(part);
    *lse = float(double(top) + std::log(sum));
    const float factor = float(double(scale) / sum);
    for (int64_t i = 0; i < n; ++i) row[i] = keep[i] ? row[i] * factor : 0.0f;
}

THINNED_CLONES
void backward_row(float *row, float *grad, float lse, float delta, int64_t n, const uint8_t *keep, float scale) {
    for (int64_t i = 0; i < n; ++i) {
        const float weight = exp_of(row[i] - lse);
        row[i] = keep[i] ? weight * scale : 0.0f;
        grad[i] = weight * ((keep[i] ? grad[i] * scale : 0.0f) - delta);
    }
}

// Eight decisions as bytes, for each value of a packed byte.
struct Spread {
    uint64_t bytes[256];
    Spread() {
        for (unsigned value = 0; value < 256; ++value) {
            uint8_t spread[8];
            for (unsigned bit = 0; bit < 8; ++bit) spread[bit] = (value >> bit) & 1;
            std::memcpy(&bytes[value], spread, 8);
        }
    }
};
const Spread kSpread;

// Calls row(r, decisions of its elements) for every row of the block.
template <class Row>
void for_rows(const ScoreRows &block, const Address &address, int threads, Row &&row) {
    parallel_for(threads, block.rows, [&](int64_t begin, int64_t end) {
        const int64_t packed = (block.columns + 7) / 8;
        std::vector<uint8_t> bits(size_t(packed), 0), keep(size_t(packed * 8), uint8_t(address.keep > 0));
        for (int64_t r = begin; r < end; ++r) {
            if (address.keep > 0 && address.keep < 65536) {
                keep_mask(bits.data(), true, block.first + uint64_t(r) * block.step, block.columns, address, 1);
                for (int64_t i = 0; i < packed; ++i) std::memcpy(keep.data() + 8 * i, &kSpread.bytes[bits[i]], 8);
            }
            row(r, keep.data());
        }
    });
}

float scale_of(const Address &address) { return address.keep > 0 ? float(65536.0 / address.keep) : 0.0f; }

}  // namespace

void attention_forward(float *scores, float *lse, const ScoreRows &block, const Address &address, int threads) {
    for_rows(block, address, threads, [&](int64_t r, const uint8_t *keep) {
        forward_row(scores + r * block.columns, lse + r, block.columns, keep, scale_of(address));
    });
}

void attention_backward(float *scores, float *grads, const float *lse, const float *delta, const ScoreRows &block,
                        const Address &address, int threads) {
    for_rows(block, address, threads, [&](int64_t r, const uint8_t *keep) {
        const int64_t start = r * block.columns;
        backward_row(scores + start, grads + start, lse[r], delta[r], block.columns, keep, scale_of(address));
    });
}

}  // namespace thinned
