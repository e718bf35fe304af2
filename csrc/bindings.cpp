// Pointers and lengths in, nothing else: the extension does not depend on PyTorch at compile time.
#include <nanobind/nanobind.h>

#include "dropout.h"

namespace nb = nanobind;
using thinned::Address;
using thinned::Dtype;

namespace {

template <class T>
T *pointer(uintptr_t address) {
    return reinterpret_cast<T *>(address);
}

void dropout(uintptr_t dst, uintptr_t src, int dtype, int64_t n, uint64_t key, uint64_t call, uint32_t keep) {
    nb::gil_scoped_release release;
    thinned::dropout(Dtype(dtype), pointer<void>(dst), pointer<const void>(src), n, {key, call, keep});
}

// One address a member; keys and keep thresholds are int64 arrays of `members` elements.
void dropout_members(uintptr_t dst, uintptr_t src, int dtype, int64_t members, int64_t n, uintptr_t keys,
                     uint64_t call, uintptr_t keeps) {
    nb::gil_scoped_release release;
    const int64_t bytes = n * (Dtype(dtype) == Dtype::f64 ? 8 : Dtype(dtype) == Dtype::f32 ? 4 : 2);
    for (int64_t m = 0; m < members; ++m) {
        const Address address{pointer<const uint64_t>(keys)[m], call, uint32_t(pointer<const int64_t>(keeps)[m])};
        thinned::dropout(Dtype(dtype), pointer<char>(dst) + m * bytes, pointer<const char>(src) + m * bytes, n, address);
    }
}

void keep_mask(uintptr_t dst, uint64_t offset, int64_t n, uint64_t key, uint64_t call, uint32_t keep) {
    nb::gil_scoped_release release;
    thinned::keep_mask(pointer<uint8_t>(dst), offset, n, {key, call, keep});
}

}  // namespace

NB_MODULE(_native, m) {
    m.doc() = "Native dropout kernels: addresses of memory, lengths and mask addresses in; see thinned.kernels.native.";
    m.def("dropout", &dropout);
    m.def("dropout_members", &dropout_members);
    m.def("keep_mask", &keep_mask);
}
