// Which kernels run: decided once, when the extension is imported.
#include <atomic>
#include <cstring>

#include "kernels.h"

namespace thinned {
namespace {

struct Candidate {
    const Kernels *kernels;
    bool (*supported)();
};

#ifdef THINNED_X86
// The compiler's own probe, which also asks whether the operating system saves the registers.
bool has_avx512() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c"); }
#endif
bool always() { return true; }

const Candidate kCandidates[] = {
#ifdef THINNED_X86
    {&kAvx512, &has_avx512},
    {&kAvx2, &has_avx2},
#endif
#ifdef THINNED_NEON
    {&kNeon, &always},  // every arm64 machine has it
#endif
    {&kPortable, &always},
};

const Kernels *best() {
#ifdef THINNED_X86
    __builtin_cpu_init();
#endif
    for (const Candidate &candidate : kCandidates)
        if (candidate.supported()) return candidate.kernels;
    return &kPortable;
}

std::atomic<const Kernels *> chosen{best()};

}  // namespace

const Kernels &kernels() { return *chosen.load(std::memory_order_relaxed); }

bool use_kernels(const char *name) {
    for (const Candidate &candidate : kCandidates)
        if (std::strcmp(candidate.kernels->name, name) == 0 && candidate.supported()) {
            chosen.store(candidate.kernels, std::memory_order_relaxed);
            return true;
        }
    return false;
}

const char *const *kernel_names() {
    struct Names {
        const char *entries[sizeof kCandidates / sizeof *kCandidates + 1] = {};
        Names() {
            int count = 0;
            for (const Candidate &candidate : kCandidates)
                if (candidate.supported()) entries[count++] = candidate.kernels->name;
        }
    };
    static const Names names;  // filled once, whichever thread comes first
    return names.entries;
}

}  // namespace thinned
