#include "dropout.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "threads.h"

namespace thinned {
namespace {

constexpr int64_t kUnit = 4096;            // elements that are never split between threads
constexpr int64_t kLargeBytes = 2 << 20;   // outputs from a large page on: worth asking about their memory
constexpr int64_t kStreamBytes = 8 << 20;  // larger outputs leave the caches before they are read anyway
constexpr double kAlpha = -1.7580993408473766;  // -lambda * alpha of SELU

Operands moved(const Operands &o, int64_t bytes) {
    return {static_cast<char *>(o.dst) + bytes, static_cast<const char *>(o.src) + bytes,
            o.residual == nullptr ? nullptr : static_cast<const char *>(o.residual) + bytes};
}

// Contiguous elements at any mask offset.
void contiguous(Form form, Dtype dtype, const Operands &o, uint64_t offset, int64_t n, const Address &a, bool stream) {
    const int type = int(dtype);
    const Arithmetic arithmetic = arithmetic_of(form, a.keep);
    if (a.keep == 0 || a.keep == 65536) {
        if (a.keep == 65536 && form != Form::add)
            return void(o.dst == o.src ? nullptr : std::memcpy(o.dst, o.src, size_t(n * kItemSize[type])));
        return kernels().constant[type](o, a.keep != 0, n, arithmetic);
    }
    const int64_t within = int64_t(offset % 128), head = within == 0 ? 0 : std::min(n, 128 - within);
    if (head != 0) {
        uint8_t bits[16 + 8] = {};
        kernels().bits(bits, offset / 128, 1, a);
        kernels().apply[type](o, bits, within, head, arithmetic);
    }
    if (n > head) {
        const uint64_t group = (offset + uint64_t(head)) / 128;
        kernels().run[type](moved(o, head * kItemSize[type]), group, n - head, a, arithmetic, stream);
    }
}

}  // namespace

bool prepare_output(const Operands &o, int64_t bytes) {
    if (o.dst == o.src || bytes < kLargeBytes) return false;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    constexpr uintptr_t kPage = 4096, kLargePage = 2 << 20;
    const uintptr_t begin = reinterpret_cast<uintptr_t>(o.dst), end = begin + uintptr_t(bytes);
    const uintptr_t probe = (begin + uintptr_t(bytes) / 2) / kPage * kPage;
    unsigned char resident = 1;
    if (mincore(reinterpret_cast<void *>(probe), kPage, &resident) == 0 && (resident & 1) == 0) {
        const uintptr_t first = (begin + kLargePage - 1) / kLargePage * kLargePage, last = end / kLargePage * kLargePage;
        if (last > first) (void)madvise(reinterpret_cast<void *>(first), last - first, MADV_HUGEPAGE);
        return false;
    }
#endif
    return bytes >= kStreamBytes;
}

Arithmetic arithmetic_of(Form form, uint32_t keep) {
    const double scale = keep == 0 ? 0.0 : 65536.0 / keep;
    if (form == Form::dropout) return {Mode::plain, scale, 0, 0};
    if (form == Form::add) return {Mode::residual, scale, 0, 0};
    if (keep == 0) return {Mode::plain, 0, 0, 0};
    const double kept = keep / 65536.0, dropped = 1.0 - kept;
    const double a = 1.0 / std::sqrt(kept * (1.0 + dropped * (kAlpha * kAlpha))), b = -(a * kAlpha) * dropped;
    if (form == Form::alpha_backward) return {Mode::plain, a, 0, 0};
    return {Mode::affine, a, b, a * kAlpha + b};
}

int64_t threshold(double p) {
    if (!(p >= 0.0 && p <= 1.0)) return -1;
    const int64_t kept = int64_t(std::nearbyint((1.0 - p) * 65536.0));
    return p < 1.0 ? std::max<int64_t>(kept, 1) : kept;
}

void dropout(Form form, Dtype dtype, const Operands &operands, int64_t members, int64_t n, uint64_t offset,
             const Addresses &addresses, int threads) {
    if (members == 0 || n == 0) return;
    const int64_t size = kItemSize[int(dtype)], units = ceil_div(n, kUnit);
    const bool stream = prepare_output(operands, members * n * size);
    threads = int(std::min<int64_t>(threads, members * n / kPerThread));
    parallel_for(threads, members * units, [&](int64_t begin, int64_t end) {
        for (int64_t unit = begin; unit < end;) {
            const int64_t member = unit / units, first = unit % units, last = std::min(units, first + end - unit);
            const int64_t start = first * kUnit, stop = std::min(n, last * kUnit);
            contiguous(form, dtype, moved(operands, (member * n + start) * size), offset + uint64_t(start), stop - start,
                       addresses.of(member), stream);
            unit += last - first;
        }
    });
}

namespace {

// Whole bytes of packed decisions from an index that need not begin a group.
void packed_bits(uint8_t *dst, uint64_t offset, int64_t n, const Address &a) {
    if (a.keep == 0 || a.keep == 65536) return void(std::memset(dst, a.keep == 0 ? 0 : 0xff, size_t(ceil_div(n, 8))));
    uint8_t bits[(kUnit / 128 + 1) * 16 + 8] = {};
    for (int64_t done = 0; done < n; done += kUnit) {
        const uint64_t first = offset + uint64_t(done);
        const int64_t count = std::min(kUnit, n - done), within = int64_t(first % 128);
        kernels().bits(bits, first / 128, ceil_div(within + count, 128), a);
        for (int64_t e = 0; e < count; e += 8) {
            uint32_t window = 0;
            std::memcpy(&window, bits + ((within + e) >> 3), 2);
            dst[(done + e) >> 3] = uint8_t(window >> (within & 7));
        }
    }
}

void spread(uint8_t *dst, const uint8_t *bits, int64_t n) {
    for (int64_t e = 0; e < n; ++e) dst[e] = (bits[e >> 3] >> (e & 7)) & 1;
}

}  // namespace

void keep_mask(uint8_t *dst, bool packed, uint64_t offset, int64_t n, const Address &address, int threads) {
    threads = int(std::min<int64_t>(threads, n / kPerThread));
    parallel_for(threads, ceil_div(n, kUnit), [&](int64_t begin, int64_t end) {
        for (int64_t start = begin * kUnit; start < std::min(n, end * kUnit); start += kUnit) {
            const int64_t count = std::min(kUnit, n - start);
            if (packed) {
                packed_bits(dst + start / 8, offset + uint64_t(start), count, address);
                if (count % 8 != 0) dst[(start + count) / 8] &= uint8_t((1 << (count % 8)) - 1);
            } else {
                uint8_t bits[kUnit / 8];
                packed_bits(bits, offset + uint64_t(start), count, address);
                spread(dst + start, bits, count);
            }
        }
    });
}

void normals(float *dst, uint64_t offset, int64_t n, const Address &address, int threads) {
    threads = int(std::min<int64_t>(threads, n / kPerThread));
    parallel_for(threads, ceil_div(n, kUnit), [&](int64_t begin, int64_t end) {
        const int64_t stop = std::min(n, end * kUnit);
        for (int64_t start = begin * kUnit; start < stop;) {
            const uint64_t first = offset + uint64_t(start), within = first % 64;
            int64_t count = (stop - start) / 64 * 64;
            if (within == 0 && count > 0) {
                kernels().normals(dst + start, first / 64, count / 64, address);
            } else {
                float group[64];
                count = std::min<int64_t>(stop - start, int64_t(64 - within));
                kernels().normals(group, first / 64, 1, address);
                std::memcpy(dst + start, group + within, size_t(count) * sizeof(float));
            }
            start += count;
        }
    });
}

}  // namespace thinned
