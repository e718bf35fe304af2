// What an instruction set offers to the layout engine: the same functions in each, chosen once at run time.
#pragma once
#include <cstdint>

namespace thinned {

enum class Dtype : int { f32 = 0, f64 = 1, bf16 = 2, f16 = 3 };
constexpr int64_t kItemSize[4] = {4, 8, 2, 2};

// Where the decisions of one mask come from: element i is kept if its 16-bit lane at (key, call, i) is below `keep`.
struct Address {
    uint64_t key, call;
    uint32_t keep;  // 0 drops everything, 65536 keeps everything
};

enum class Mode : int {
    plain = 0,     // kept: x * scale             dropped: 0
    residual = 1,  // kept: r + x * scale         dropped: r + 0
    affine = 2,    // kept: x * scale + shift     dropped: the constant `dropped`
};

struct Arithmetic {
    Mode mode;
    double scale, shift, dropped;
};

struct Operands {
    void *dst;
    const void *src;
    const void *residual;  // Mode::residual only
};

// A tile of decisions where the mask runs along another axis than the memory: bits along the mask, and along memory.
constexpr int64_t kTileMask = 512, kTileMemory = 256;

struct Kernels {
    const char *name;
    // Decisions of whole groups of 128 elements, packed: bit i & 7 of byte i >> 3; 0 < keep < 65536.
    void (*bits)(uint8_t *dst, uint64_t group, int64_t groups, const Address &address);
    // Transposes `rows` (a multiple of 8, at most kTileMemory) rows of kTileMask bits, of which the first `columns` matter,
    // to rows of kTileMemory bits.
    void (*turn)(uint8_t *dst, const uint64_t *src, int64_t rows, int64_t columns);
    // The 64 words of each of successive groups of 16 blocks: word w of block b at 16 * w + b.
    void (*words)(uint32_t *dst, uint64_t group, int64_t groups, const Address &address);
    // Standard normals of whole groups of 64 words; see normal.h. The address's `keep` has no part in it.
    void (*normals)(float *dst, uint64_t group, int64_t groups, const Address &address);
    // n contiguous elements, the first of which is the first of `group`; `stream` asks for non-temporal stores.
    void (*run[4])(const Operands &, uint64_t group, int64_t n, const Address &, const Arithmetic &, bool stream);
    // n contiguous elements, decided by packed bits from bit `first` on. Up to 7 bytes after the last bit are read.
    void (*apply[4])(const Operands &, const uint8_t *bits, int64_t first, int64_t n, const Arithmetic &);
    // n contiguous elements with one decision.
    void (*constant[4])(const Operands &, bool kept, int64_t n, const Arithmetic &);
};

extern const Kernels kPortable;
#ifdef THINNED_X86
extern const Kernels kAvx2, kAvx512;
#endif
#ifdef THINNED_NEON
extern const Kernels kNeon;
#endif

// The kernels in use: the fastest that this machine runs, or the one that THINNED_ISA names.
const Kernels &kernels();
// Chooses the kernels in use; false where this build or machine does not have `name`.
bool use_kernels(const char *name);
// Names that `use_kernels` accepts here, fastest first, null-terminated.
const char *const *kernel_names();

}  // namespace thinned
