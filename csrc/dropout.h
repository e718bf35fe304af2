#pragma once
#include <cstdint>

namespace thinned {

enum class Dtype : int { f32 = 0, f64 = 1, bf16 = 2, f16 = 3 };

// Where the decisions of one mask come from: element i is kept if its 16-bit lane at (key, call, i) is below `keep`.
struct Address {
    uint64_t key, call;
    uint32_t keep;  // 0 drops everything, 65536 keeps everything
};

// dst[i] = kept(i) ? src[i] * 65536 / keep : 0 for n contiguous elements; dst may be src.
void dropout(Dtype dtype, void *dst, const void *src, int64_t n, Address address);

// keep decisions of elements offset .. offset + n, one byte each
void keep_mask(uint8_t *dst, uint64_t offset, int64_t n, Address address);

}  // namespace thinned
