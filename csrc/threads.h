// Threads for large tensors.
#pragma once
#include <cstdint>

namespace thinned {

constexpr int64_t kPerThread = 32768;  // PyTorch's own grain: fewer elements than this are not worth a thread

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Calls work(context, begin, end) on disjoint ranges that make up [0, items), on up to `threads` threads including the
// calling one, and returns when all are done. The split does not affect any result.
void parallel(int threads, int64_t items, void (*work)(void *, int64_t, int64_t), void *context);

template <class Function>
void parallel_for(int threads, int64_t items, Function &&function) {
    parallel(
        threads, items, [](void *f, int64_t begin, int64_t end) { (*static_cast<Function *>(f))(begin, end); },
        &function);
}

}  // namespace thinned
