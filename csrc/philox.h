// Philox4x32-10 (Salmon et al. 2011) and the address of a keep decision. src/thinned/philox.py is the specification.
//
// Everything here has internal linkage: files compiled for different instruction sets include it, and a shared inline
// function would let the linker keep the AVX-512 copy for a machine that has none.
#pragma once
#include <cstdint>

namespace thinned {
namespace {

struct Block {
    uint32_t word[4];
};

constexpr uint32_t kMultiplier0 = 0xD2511F53u, kMultiplier1 = 0xCD9E8D57u;
constexpr uint32_t kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;

[[maybe_unused]] inline Block philox4x32(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint64_t key, int rounds) {
    uint32_t k0 = uint32_t(key), k1 = uint32_t(key >> 32);
    for (int round = 0; round < rounds; ++round) {
        const uint64_t product0 = uint64_t(kMultiplier0) * c0, product1 = uint64_t(kMultiplier1) * c2;
        c0 = uint32_t(product1 >> 32) ^ c1 ^ k0;
        c1 = uint32_t(product1);
        c2 = uint32_t(product0 >> 32) ^ c3 ^ k1;
        c3 = uint32_t(product0);
        k0 += kWeyl0;
        k1 += kWeyl1;
    }
    return {{c0, c1, c2, c3}};
}

[[maybe_unused]] inline Block philox_block(uint64_t block, uint64_t call, uint64_t key) {
    return philox4x32(uint32_t(block), uint32_t(block >> 32), uint32_t(call), uint32_t(call >> 32), key, 10);
}

// What vector code needs of a run of groups that share the upper word of their block number: the first two rounds see
// mostly constants, so their products are taken once. Names: the words c0..c3 after round 1 and round 2, as constants
// to xor where a word still varies with the block.
struct Head {
    uint32_t c2_round1;  // c2 = high(M0 * block) ^ this
    uint32_t c0_round2;  // c0 = high(M1 * c2) ^ this
    uint32_t c2_round2;  // c2 = low(M0 * block) ^ this
    uint32_t c2_round3;  // c2 = high(M0 * c0) ^ this
    uint32_t k0[10], k1[10];
};

[[maybe_unused]] inline Head head_of(uint32_t block_high, uint64_t call, uint64_t key) {
    Head head;
    for (uint32_t round = 0; round < 10; ++round) {
        head.k0[round] = uint32_t(key) + round * kWeyl0;
        head.k1[round] = uint32_t(key >> 32) + round * kWeyl1;
    }
    const uint64_t product1 = uint64_t(kMultiplier1) * uint32_t(call);
    const uint32_t c0 = uint32_t(product1 >> 32) ^ block_high ^ head.k0[0];
    const uint64_t product0 = uint64_t(kMultiplier0) * c0;
    head.c2_round1 = uint32_t(call >> 32) ^ head.k1[0];
    head.c0_round2 = uint32_t(product1) ^ head.k0[1];
    head.c2_round2 = uint32_t(product0 >> 32) ^ head.k1[1];
    head.c2_round3 = uint32_t(product0) ^ head.k1[2];
    return head;
}

}  // namespace
}  // namespace thinned
