// Dropout of whole tensors: arithmetic, members and threads over the kernels.
#pragma once
#include "kernels.h"

namespace thinned {

// What is computed of x, by the keep threshold K of 65,536 and q = K / 65536:
enum class Form : int {
    dropout = 0,         // kept: x / q                  dropped: 0
    add = 1,             // kept: residual + x / q       dropped: residual + 0
    alpha = 2,           // kept: a x + b                dropped: a α' + b    (Klambauer et al. 2017)
    alpha_backward = 3,  // kept: a x                    dropped: 0
};

// K = 65536 copies bit for bit (Form::add: residual + x), K = 0 gives zeros (Form::add: residual + 0).
Arithmetic arithmetic_of(Form form, uint32_t keep);

// How a large output is written best depends on its memory. Pages that are there already: past the caches, which saves
// reading them first. Pages that the allocator has just mapped: through the caches, where the kernel has just cleared
// them, and as large pages, since the first touch of 4 KiB pages costs more than dropout does. Where the system leaves
// that choice to the program, the hint is given here. Returns whether to
// stream; `bytes` of output, contiguous.
bool prepare_output(const Operands &operands, int64_t bytes);

// The lane values, of 65,536, that keep an element: round((1 - p) * 65536), at least 1 while p < 1; -1 for an invalid p.
int64_t threshold(double p);

// One address, or one for each member; strides in elements, 0 where all members have the same.
struct Addresses {
    const uint64_t *key;
    const int64_t *keep;
    int64_t key_stride, keep_stride;
    uint64_t call;

    Address of(int64_t member) const {
        return {key[member * key_stride], call, uint32_t(keep[member * keep_stride])};
    }
};

// `members` row-major tensors of n elements, one after the other; member m's element i has index offset + i in its mask.
void dropout(Form form, Dtype dtype, const Operands &operands, int64_t members, int64_t n, uint64_t offset,
             const Addresses &addresses, int threads);

// keep decisions of elements offset .. offset + n: one byte each, or packed (bit i & 7 of byte i >> 3; the last byte is
// filled up with zeros)
void keep_mask(uint8_t *dst, bool packed, uint64_t offset, int64_t n, const Address &address, int threads);

// Standard normals of indices offset .. offset + n; see normal.h.
void normals(float *dst, uint64_t offset, int64_t n, const Address &address, int threads);

}  // namespace thinned
