// NEON, which every arm64 machine has.
#include <arm_neon.h>

#include <type_traits>

namespace thinned {
namespace {

template <class T>
struct Lanes {
    static constexpr int width = 4, across = 4, tile = 4, low = 4;
    static inline __attribute__((always_inline)) float32x4_t root(float32x4_t v) { return vsqrtq_f32(v); }
};

}  // namespace
}  // namespace thinned

#include "cohort_generic.h"

namespace thinned {

extern const CohortKernels<float> kCohortNeon = cohort_kernels_named<float>("neon");

}  // namespace thinned
