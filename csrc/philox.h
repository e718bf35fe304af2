// Philox4x32-10 (Salmon et al. 2011) and the address of a keep decision. src/thinned/philox.py is the specification.
#pragma once
#include <cstdint>

namespace thinned {

struct Block {
    uint32_t word[4];
};

inline Block philox4x32_10(uint64_t block, uint64_t call, uint64_t key) {
    uint32_t c0 = uint32_t(block), c1 = uint32_t(block >> 32), c2 = uint32_t(call), c3 = uint32_t(call >> 32);
    uint32_t k0 = uint32_t(key), k1 = uint32_t(key >> 32);
    for (int round = 0; round < 10; ++round) {
        uint64_t product0 = uint64_t(0xD2511F53u) * c0, product1 = uint64_t(0xCD9E8D57u) * c2;
        c0 = uint32_t(product1 >> 32) ^ c1 ^ k0;
        c1 = uint32_t(product1);
        c2 = uint32_t(product0 >> 32) ^ c3 ^ k1;
        c3 = uint32_t(product0);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

// The 16-bit lanes of a group's 128 elements: 16 blocks, each giving 8 lanes at a stride of 16 elements.
inline void group_lanes(uint64_t group, uint64_t call, uint64_t key, uint16_t lanes[128]) {
    for (unsigned b = 0; b < 16; ++b) {
        Block out = philox4x32_10(16 * group + b, call, key);
        for (unsigned e = 0; e < 8; ++e) lanes[16 * e + b] = uint16_t(out.word[e >> 1] >> (16 * (e & 1)));
    }
}

}  // namespace thinned
