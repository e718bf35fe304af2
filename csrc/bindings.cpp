// Pointers, lengths and strides in, nothing else: the extension does not depend on PyTorch at compile time.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "attention.h"
#include "dropout.h"
#include "layout.h"
#include "threads.h"

namespace nb = nanobind;
using namespace thinned;

namespace {

constexpr int64_t kKeepsGil = 16384;  // elements: a kernel of some 5 us is over before another thread could run

template <class T>
T *pointer(uintptr_t address) {
    return reinterpret_cast<T *>(address);
}

Operands operands(uintptr_t dst, uintptr_t src, uintptr_t residual) {
    return {pointer<void>(dst), pointer<const void>(src), pointer<const void>(residual)};
}

// One address for all, or (where the pointer is not 0) an array of one for each member; strides in elements.
Addresses addresses(const uint64_t &key, uintptr_t keys, int64_t key_stride, uint64_t call, const int64_t &keep,
                    uintptr_t keeps, int64_t keep_stride) {
    return {keys != 0 ? pointer<const uint64_t>(keys) : &key, keeps != 0 ? pointer<const int64_t>(keeps) : &keep,
            keys != 0 ? key_stride : 0, keeps != 0 ? keep_stride : 0, call};
}

void dropout_one(int form, int dtype, uintptr_t dst, uintptr_t src, uintptr_t residual, int64_t n, uint64_t offset,
                 uint64_t key, uint64_t call, int64_t keep, int threads) {
    const Addresses all{&key, &keep, 0, 0, call};
    if (n <= kKeepsGil) return dropout(Form(form), Dtype(dtype), operands(dst, src, residual), 1, n, offset, all, 1);
    nb::gil_scoped_release release;
    dropout(Form(form), Dtype(dtype), operands(dst, src, residual), 1, n, offset, all, threads);
}

void dropout_members(int form, int dtype, uintptr_t dst, uintptr_t src, uintptr_t residual, int64_t members, int64_t n,
                     uint64_t key, uintptr_t keys, int64_t key_stride, uint64_t call, int64_t keep, uintptr_t keeps,
                     int64_t keep_stride, int threads) {
    nb::gil_scoped_release release;
    dropout(Form(form), Dtype(dtype), operands(dst, src, residual), members, n, 0,
            addresses(key, keys, key_stride, call, keep, keeps, keep_stride), threads);
}

// `axes` are rows of (size, dst, src, residual, mask); `members` is one row (count, dst, src, residual).
void dropout_any_strides(int form, int dtype, uintptr_t dst, uintptr_t src, uintptr_t residual,
                         const std::vector<int64_t> &members, const std::vector<int64_t> &axes, uint64_t offset,
                         uint64_t key, uintptr_t keys, int64_t key_stride, uint64_t call, int64_t keep, uintptr_t keeps,
                         int64_t keep_stride, int threads) {
    nb::gil_scoped_release release;
    std::vector<Axis> rows;
    for (size_t i = 0; i + 5 <= axes.size(); i += 5)
        rows.push_back({axes[i], axes[i + 1], axes[i + 2], axes[i + 3], axes[i + 4]});
    dropout_strided(Form(form), Dtype(dtype), operands(dst, src, residual),
                    {members.at(0), members.at(1), members.at(2), members.at(3)}, rows, offset,
                    addresses(key, keys, key_stride, call, keep, keeps, keep_stride), threads);
}

void keep_decisions(uintptr_t dst, bool packed, uint64_t offset, int64_t n, uint64_t key, uint64_t call, uint32_t keep,
                    int threads) {
    nb::gil_scoped_release release;
    keep_mask(pointer<uint8_t>(dst), packed, offset, n, {key, call, keep}, threads);
}

// The words of whole groups, for tests of the generator itself.
void words(uintptr_t dst, uint64_t group, int64_t groups, uint64_t key, uint64_t call) {
    nb::gil_scoped_release release;
    kernels().words(pointer<uint32_t>(dst), group, groups, {key, call, 0});
}

void normal_numbers(uintptr_t dst, uint64_t offset, int64_t n, uint64_t key, uint64_t call, int threads) {
    nb::gil_scoped_release release;
    normals(pointer<float>(dst), offset, n, {key, call, 0}, threads);
}

void attention_block_forward(uintptr_t scores, uintptr_t lse, int64_t rows, int64_t columns, uint64_t first, uint64_t step,
                             uint64_t key, uint64_t call, uint32_t keep, int threads) {
    nb::gil_scoped_release release;
    attention_forward(pointer<float>(scores), pointer<float>(lse), {rows, columns, first, step}, {key, call, keep}, threads);
}

void attention_block_backward(uintptr_t scores, uintptr_t grads, uintptr_t lse, uintptr_t delta, int64_t rows,
                              int64_t columns, uint64_t first, uint64_t step, uint64_t key, uint64_t call, uint32_t keep,
                              int threads) {
    nb::gil_scoped_release release;
    attention_backward(pointer<float>(scores), pointer<float>(grads), pointer<const float>(lse),
                       pointer<const float>(delta), {rows, columns, first, step}, {key, call, keep}, threads);
}

// Fills `dst` with the threshold of each p; the position of the first invalid p, or -1.
int64_t thresholds(uintptr_t dst, uintptr_t p, int64_t stride, int64_t n) {
    for (int64_t i = 0; i < n; ++i)
        if ((pointer<int64_t>(dst)[i] = threshold(pointer<const double>(p)[i * stride])) < 0) return i;
    return -1;
}

nb::list isas() {
    nb::list names;
    for (const char *const *name = kernel_names(); *name != nullptr; ++name) names.append(*name);
    return names;
}

}  // namespace

NB_MODULE(_native, m) {
    m.doc() = "Native dropout kernels: addresses of memory, lengths and mask addresses in; see thinned.kernels.native.";
    m.def("dropout", &dropout_one);
    m.def("dropout_members", &dropout_members);
    m.def("dropout_strided", &dropout_any_strides);
    m.def("attention_forward", &attention_block_forward);
    m.def("attention_backward", &attention_block_backward);
    m.def("keep_mask", &keep_decisions);
    m.def("words", &words);
    m.def("normals", &normal_numbers);
    m.def("thresholds", &thresholds);
    m.def("isas", &isas, "instruction sets of this build that this machine has, fastest first");
    m.def("isa", [] { return kernels().name; });
    m.def("use_isa", [](const std::string &name) { return use_kernels(name.c_str()); });
    m.def("thread_pool", &thread_pool);
}
