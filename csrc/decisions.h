// The decisions of one mask, by index, a group at a time; recent groups are kept.
#pragma once
#include <algorithm>
#include <cstring>
#include <memory>

#include "kernels.h"

namespace thinned {

class Decisions {
public:
    // Forgets what it knows when the address changes. `ahead`: how many groups to decide at once, at least, where
    // the next ones will be asked for as well; one alone takes nearly as long as three.
    void use(const Address &a, int64_t ahead) {
        ahead_ = ahead;
        if (known_ && a.key == address_.key && a.call == address_.call && a.keep == address_.keep) return;
        address_ = a;
        known_ = true;
        std::fill_n(group_.get(), kGroups, ~uint64_t(0));  // no group has that number
    }

    // Packed decisions of `got` <= `want` indices from `index` on; the first is bit index % 128 of what is returned.
    const uint8_t *at(uint64_t index, int64_t want, int64_t &got) {
        const uint64_t first = index / 128, last = (index + uint64_t(want) - 1) / 128;
        const int64_t slot = int64_t(first % kGroups);
        const int64_t count = std::min(int64_t(last - first) + 1, kGroups - slot);
        for (int64_t g = 0; g < count; ++g) {
            if (group_[slot + g] == first + uint64_t(g)) continue;
            const int64_t begin = g, enough = std::min(g + ahead_, kGroups - slot);
            for (; g < enough || (g < count && group_[slot + g] != first + uint64_t(g)); ++g)
                group_[slot + g] = first + uint64_t(g);
            kernels().bits(bits_.get() + 16 * (slot + begin), first + uint64_t(begin), g - begin, address_);
        }
        got = std::min(want, count * 128 - int64_t(index % 128));
        return bits_.get() + 16 * slot;
    }

    // Copies `n` decisions from `index` on to packed bits that begin at bit 0 of `dst`, which has (n + 63) / 64 words.
    void copy(uint64_t index, int64_t n, uint64_t *dst) {
        for (int64_t done = 0, got; done < n; done += got) {
            const uint8_t *from = at(index + uint64_t(done), n - done, got);
            const int64_t bit = int64_t((index + uint64_t(done)) % 128);
            for (int64_t e = 0; e < got; e += 64)
                put(dst, done + e, window(from, bit + e), std::min<int64_t>(64, got - e));
        }
    }

private:
    static constexpr int64_t kGroups = 1024;

    static uint64_t window(const uint8_t *bits, int64_t first) {
        uint64_t low, high;
        std::memcpy(&low, bits + (first >> 3), 8);
        std::memcpy(&high, bits + (first >> 3) + 8, 8);
        return first & 7 ? low >> (first & 7) | high << (64 - (first & 7)) : low;
    }

    static void put(uint64_t *dst, int64_t at, uint64_t bits, int64_t n) {
        if (n < 64) bits &= (uint64_t(1) << n) - 1;
        uint64_t *word = dst + at / 64;
        const int shift = int(at % 64);
        word[0] = shift == 0 ? bits : (word[0] & ((uint64_t(1) << shift) - 1)) | bits << shift;
        if (shift + n > 64) word[1] = bits >> (64 - shift);
    }

    Address address_{};
    bool known_ = false;
    int64_t ahead_ = 1;
    // 16 bytes past the end are read, never used
    std::unique_ptr<uint8_t[]> bits_{new uint8_t[16 * kGroups + 16]()};
    std::unique_ptr<uint64_t[]> group_{new uint64_t[kGroups]};
};

}  // namespace thinned
