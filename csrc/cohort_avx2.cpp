// AVX2 with FMA.
#include <immintrin.h>

#include <type_traits>

namespace thinned {
namespace {

template <class T>
struct Lanes {
    static constexpr int width = 8, across = 2, tile = 6, low = 4;
    static inline __attribute__((always_inline)) __m256 root(__m256 v) { return _mm256_sqrt_ps(v); }
};

}  // namespace
}  // namespace thinned

#include "cohort_generic.h"

namespace thinned {

extern const CohortKernels<float> kCohortAvx2 = cohort_kernels_named<float>("avx2");

}  // namespace thinned
