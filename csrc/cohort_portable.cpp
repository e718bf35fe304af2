// Any machine, and the only one in double precision, for tests.
#include <math.h>

#include <type_traits>

namespace thinned {
namespace {

template <class T>
struct Lanes {
    static constexpr int width = 16 / sizeof(T), across = 2, tile = 6, low = 4;
    template <class V>
    static inline __attribute__((always_inline)) V root(V v) {
        for (int i = 0; i < width; ++i) v[i] = sizeof(T) == 8 ? __builtin_sqrt(v[i]) : __builtin_sqrtf(v[i]);
        return v;
    }
};

}  // namespace
}  // namespace thinned

#include "cohort_generic.h"

namespace thinned {

extern const CohortKernels<float> kCohortPortable = cohort_kernels_named<float>("portable");
extern const CohortKernels<double> kCohortDouble = cohort_kernels_named<double>("portable");

}  // namespace thinned
