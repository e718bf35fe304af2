// What Python sees: the structures of the headers, and functions that take pointers, lengths and strides. There is no
// arithmetic here, and nothing depends on PyTorch at compile time. src/thinned/_native.pyi is generated from this file.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <vector>

#include "attention.h"
#ifdef THINNED_COHORT
#include "cohort_bindings.h"
#endif
#include "dropout.h"
#include "layout.h"

namespace nb = nanobind;
using namespace nb::literals;
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

// One address for all members; or, where a pointer is not 0, an array of one key or threshold for each.
struct MemberAddresses {
    uint64_t key, call;
    int64_t keep;
    uintptr_t keys, keeps;
    int64_t key_stride, keep_stride;

    Addresses view() const {
        return {keys != 0 ? pointer<const uint64_t>(keys) : &key, keeps != 0 ? pointer<const int64_t>(keeps) : &keep,
                keys != 0 ? key_stride : 0, keeps != 0 ? keep_stride : 0, call};
    }
};

void dropout_one(Form form, Dtype dtype, uintptr_t dst, uintptr_t src, uintptr_t residual, int64_t n,
                 const Address &address, int threads) {
    const int64_t keep = address.keep;
    const Addresses all{&address.key, &keep, 0, 0, address.call};
    if (n <= kKeepsGil) return dropout(form, dtype, operands(dst, src, residual), 1, n, 0, all, 1);
    nb::gil_scoped_release release;
    dropout(form, dtype, operands(dst, src, residual), 1, n, 0, all, threads);
}

void dropout_members(Form form, Dtype dtype, uintptr_t dst, uintptr_t src, uintptr_t residual, int64_t members, int64_t n,
                     const MemberAddresses &addresses, int threads) {
    nb::gil_scoped_release release;
    dropout(form, dtype, operands(dst, src, residual), members, n, 0, addresses.view(), threads);
}

void dropout_any_strides(Form form, Dtype dtype, uintptr_t dst, uintptr_t src, uintptr_t residual,
                         const MemberAxis &members, const std::vector<Axis> &axes, uint64_t offset,
                         const MemberAddresses &addresses, int threads) {
    nb::gil_scoped_release release;
    dropout_strided(form, dtype, operands(dst, src, residual), members, axes, offset, addresses.view(), threads);
}

void keep_decisions(uintptr_t dst, bool packed, uint64_t offset, int64_t n, const Address &address, int threads) {
    nb::gil_scoped_release release;
    keep_mask(pointer<uint8_t>(dst), packed, offset, n, address, threads);
}

void words_of_groups(uintptr_t dst, uint64_t group, int64_t groups, uint64_t key, uint64_t call) {
    nb::gil_scoped_release release;
    kernels().words(pointer<uint32_t>(dst), group, groups, {key, call, 0});
}

void normal_numbers(uintptr_t dst, uint64_t offset, int64_t n, uint64_t key, uint64_t call, int threads) {
    nb::gil_scoped_release release;
    normals(pointer<float>(dst), offset, n, {key, call, 0}, threads);
}

void attention_block_forward(uintptr_t scores, uintptr_t lse, const ScoreRows &block, const Address &address, int threads) {
    nb::gil_scoped_release release;
    attention_forward(pointer<float>(scores), pointer<float>(lse), block, address, threads);
}

void attention_block_backward(uintptr_t scores, uintptr_t grads, uintptr_t lse, uintptr_t delta, const ScoreRows &block,
                              const Address &address, int threads) {
    nb::gil_scoped_release release;
    attention_backward(pointer<float>(scores), pointer<float>(grads), pointer<const float>(lse),
                       pointer<const float>(delta), block, address, threads);
}

int64_t thresholds(uintptr_t dst, uintptr_t p, int64_t stride, int64_t n) {
    for (int64_t i = 0; i < n; ++i)
        if ((pointer<int64_t>(dst)[i] = threshold(pointer<const double>(p)[i * stride])) < 0) return i;
    return -1;
}

std::vector<std::string> isas() {
    std::vector<std::string> names;
    for (const char *const *name = kernel_names(); *name != nullptr; ++name) names.emplace_back(*name);
    return names;
}

void register_structures(nb::module_ &m) {
    nb::enum_<Form>(m, "Form", "What is computed of x; see csrc/dropout.h.")
        .value("dropout", Form::dropout)
        .value("add", Form::add)
        .value("alpha", Form::alpha)
        .value("alpha_backward", Form::alpha_backward);
    nb::enum_<Dtype>(m, "Dtype", "Element types.")
        .value("f32", Dtype::f32)
        .value("f64", Dtype::f64)
        .value("bf16", Dtype::bf16)
        .value("f16", Dtype::f16);
    nb::class_<Address>(m, "Address", "Where the decisions of one mask come from.")
        .def(nb::init<uint64_t, uint64_t, uint32_t>(), "key"_a, "call"_a, "keep"_a);
    nb::class_<MemberAddresses>(m, "MemberAddresses",
                                "The address of each member: `keys` and `keeps`, where not 0, are arrays.")
        .def(nb::init<uint64_t, uint64_t, int64_t, uintptr_t, uintptr_t, int64_t, int64_t>(), "key"_a, "call"_a,
             "keep"_a, "keys"_a = 0, "keeps"_a = 0, "key_stride"_a = 0, "keep_stride"_a = 0);
    nb::class_<Axis>(m, "Axis", "The size of an axis, and its strides in elements of each operand and of the mask.")
        .def(nb::init<int64_t, int64_t, int64_t, int64_t, int64_t>(), "size"_a, "dst"_a, "src"_a, "residual"_a, "mask"_a);
    nb::class_<MemberAxis>(m, "MemberAxis", "The number of members, and their strides in each operand.")
        .def(nb::init<int64_t, int64_t, int64_t, int64_t>(), "count"_a, "dst"_a, "src"_a, "residual"_a);
    nb::class_<ScoreRows>(m, "ScoreRows", "Rows of attention scores; row r begins at index first + r * step of the mask.")
        .def(nb::init<int64_t, int64_t, uint64_t, uint64_t>(), "rows"_a, "columns"_a, "first"_a, "step"_a);
}

void register_kernels(nb::module_ &m) {
    m.def("dropout", &dropout_one, "form"_a, "dtype"_a, "dst"_a, "src"_a, "residual"_a, "n"_a, "address"_a, "threads"_a,
          "Dropout of n contiguous elements.");
    m.def("dropout_members", &dropout_members, "form"_a, "dtype"_a, "dst"_a, "src"_a, "residual"_a, "members"_a, "n"_a,
          "addresses"_a, "threads"_a, "Dropout of members of n contiguous elements, one after the other.");
    m.def("dropout_strided", &dropout_any_strides, "form"_a, "dtype"_a, "dst"_a, "src"_a, "residual"_a, "members"_a,
          "axes"_a, "offset"_a, "addresses"_a, "threads"_a, "Dropout of members of any strides.");
    m.def("attention_forward", &attention_block_forward, "scores"_a, "lse"_a, "block"_a, "address"_a, "threads"_a,
          "Softmax and dropout of scores in place.");
    m.def("attention_backward", &attention_block_backward, "scores"_a, "grads"_a, "lse"_a, "delta"_a, "block"_a,
          "address"_a, "threads"_a, "The dropped softmax in place of the scores, and their gradient in place of its own.");
    m.def("keep_mask", &keep_decisions, "dst"_a, "packed"_a, "offset"_a, "n"_a, "address"_a, "threads"_a,
          "Decisions of n successive indices: a byte each, or packed bits.");
    m.def("words", &words_of_groups, "dst"_a, "group"_a, "groups"_a, "key"_a, "call"_a,
          "The 64 words of each of successive groups, for tests of the generator.");
    m.def("normals", &normal_numbers, "dst"_a, "offset"_a, "n"_a, "key"_a, "call"_a, "threads"_a,
          "Standard normals of n successive indices.");
    m.def("thresholds", &thresholds, "dst"_a, "p"_a, "stride"_a, "n"_a,
          "Fill dst with the threshold of each p; return the position of the first invalid p, or -1.");
}

}  // namespace

NB_MODULE(_native, m) {
    m.doc() = "The compiled extension: memory by `data_ptr`, lengths and strides in elements. See thinned.kernels.native.";
    register_structures(m);
    register_kernels(m);
#ifdef THINNED_COHORT
    register_cohort(m);
#endif
    m.def("isas", &isas, "Instruction sets of this build that this machine has, fastest first.");
    m.def("isa", [] { return std::string(kernels().name); }, "The instruction set in use.");
    m.def("use_isa", [](const std::string &name) { return use_kernels(name.c_str()); }, "name"_a,
          "Use an instruction set; return False where this build or machine does not have it.");
}
