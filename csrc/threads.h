// Threads for large tensors.
#pragma once
#include <cstdint>

namespace thinned {

// Calls work(context, begin, end) on disjoint ranges that make up [0, items), on up to `threads` threads including the
// calling one, and returns when all are done. The split does not affect any result.
void parallel(int threads, int64_t items, void (*work)(void *, int64_t, int64_t), void *context);

template <class Function>
void parallel_for(int threads, int64_t items, Function &&function) {
    parallel(
        threads, items, [](void *f, int64_t begin, int64_t end) { (*static_cast<Function *>(f))(begin, end); },
        &function);
}

// "openmp" where the threads are those of the OpenMP runtime that PyTorch uses, else "own".
const char *thread_pool();

}  // namespace thinned
