// Dropout of tensors of any strides: the decision follows the logical index, the loop follows the memory.
#pragma once
#include <vector>

#include "dropout.h"

namespace thinned {

// One axis: its size, and the strides in elements of each operand and of the mask's index.
struct Axis {
    int64_t size, dst, src, residual, mask;
};

// Strides of the axis of members; it has no mask stride, since each member has its own address.
struct MemberAxis {
    int64_t count, dst, src, residual;
};

// Element (i, j, ...) of a member has index offset + i * axes[0].mask + j * axes[1].mask + ... in the member's mask. No
// two elements of the output may lie at one place.
void dropout_strided(Form form, Dtype dtype, const Operands &operands, const MemberAxis &members,
                     const std::vector<Axis> &axes, uint64_t offset, const Addresses &addresses, int threads);

}  // namespace thinned
