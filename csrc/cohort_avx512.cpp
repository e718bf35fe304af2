// AVX-512.
#include <immintrin.h>

#include <type_traits>

namespace thinned {
namespace {

template <class T>
struct Lanes {
    static constexpr int width = 16, across = 2, tile = 8, low = 8;
    static inline __attribute__((always_inline)) __m512 root(__m512 v) { return _mm512_sqrt_ps(v); }
};

}  // namespace
}  // namespace thinned

#include "cohort_generic.h"

namespace thinned {

extern const CohortKernels<float> kCohortAvx512 = cohort_kernels_named<float>("avx512");

}  // namespace thinned
