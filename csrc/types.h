// Element types as tags; see generic.h.
#pragma once
#include <cstdint>

#if defined(__GNUC__)
#define THINNED_INLINE inline __attribute__((always_inline))
#else
#define THINNED_INLINE inline
#endif

namespace thinned {
namespace {

struct F32 {
    static constexpr int64_t size = 4;
};
struct F64 {
    static constexpr int64_t size = 8;
};
struct BF16 {
    static constexpr int64_t size = 2;
};
struct F16 {
    static constexpr int64_t size = 2;
};

}  // namespace
}  // namespace thinned
