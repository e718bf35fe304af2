// Every instruction set of this build against the portable loop, and the layout engine against a loop over single
// elements, on memory of exactly the right size: for sanitizers, valgrind, and machines that only an emulator provides.
// Built with -DTHINNED_SELFTEST=ON; prints what it compared, exits 1 at the first difference.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "dropout.h"
#include "layout.h"
#include "selftest.h"
#include "threads.h"

using namespace thinned;

uint64_t thinned::random_bits() {  // xorshift64
    static uint64_t state = 88172645463325252ull;
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state;
}

void thinned::expect(bool equal, const std::string &what) {
    if (equal) return;
    std::printf("differs: %s\n", what.c_str());
    std::exit(1);
}

namespace {

// Exactly `bytes` bytes of random content, so that a sanitizer sees any access past the end.
std::vector<char> noise(int64_t bytes) {
    std::vector<char> out(static_cast<size_t>(bytes));
    for (char &byte : out) byte = char(random_bits() >> 32);
    out.shrink_to_fit();
    return out;
}

const char *const kTypes[] = {"f32", "f64", "bf16", "f16"};
const Form kForms[] = {Form::dropout, Form::add, Form::alpha, Form::alpha_backward};

// The output of one call with the kernels `name`.
std::vector<char> contiguous(const char *name, Form form, int type, int64_t n, uint64_t offset, const Addresses &a,
                             const std::vector<char> &x, const std::vector<char> &residual, int threads) {
    use_kernels(name);
    std::vector<char> out = noise(n * kItemSize[type]);
    dropout(form, Dtype(type), {out.data(), x.data(), residual.data()}, 1, n, offset, a, threads);
    return out;
}

int compare_contiguous(const char *name) {
    int cases = 0;
    for (int64_t n : {1, 15, 16, 17, 127, 128, 129, 1000, 4097, 70001})
        for (uint64_t offset : {uint64_t(0), uint64_t(1), uint64_t(127), uint64_t(128), (uint64_t(1) << 35) - 256})
            for (int64_t keep : {0, 1, 30000, 65535, 65536})
                for (int type = 0; type < 4; ++type) {
                    const std::vector<char> x = noise(n * kItemSize[type]);
                    // zeros: of the sum of two NaNs, either's payload may be the result
                    const std::vector<char> residual(size_t(n * kItemSize[type]), 0);
                    const uint64_t key = random_bits();
                    const Addresses a{&key, &keep, 0, 0, random_bits()};
                    for (Form form : kForms) {
                        const auto expected = contiguous("portable", form, type, n, offset, a, x, residual, 1);
                        const auto out = contiguous(name, form, type, n, offset, a, x, residual, 1 + cases % 3);
                        expect(out == expected, std::string(name) + " " + kTypes[type]);
                        ++cases;
                    }
                }
    return cases;
}

void compare_masks_and_normals(const char *name) {
    for (uint64_t offset : {uint64_t(0), uint64_t(5), uint64_t(127), (uint64_t(1) << 35) - 3})
        for (int64_t n : {1, 7, 8, 64, 130, 5001}) {
            const Address a{random_bits(), random_bits(), 20000};
            std::vector<uint8_t> bytes[2], packed[2];
            std::vector<float> normal[2];
            for (int which = 0; which < 2; ++which) {
                use_kernels(which == 0 ? "portable" : name);
                bytes[which].resize(size_t(n)), packed[which].resize(size_t(n + 7) / 8), normal[which].resize(size_t(n));
                keep_mask(bytes[which].data(), false, offset, n, a, 1);
                keep_mask(packed[which].data(), true, offset, n, a, 1);
                normals(normal[which].data(), offset, n, a, 2);
            }
            for (int64_t i = 0; i < n; ++i)
                expect((packed[1][size_t(i) / 8] >> (i % 8) & 1) == bytes[1][size_t(i)], "packed mask");
            expect(bytes[0] == bytes[1] && packed[0] == packed[1], std::string("mask of ") + name);
            expect(std::memcmp(normal[0].data(), normal[1].data(), size_t(n) * 4) == 0, std::string("normals of ") + name);
        }
}

// A tensor of random shape, memory order, shared axes and position in a larger one.
int compare_layouts(const char *name, int cases) {
    for (int c = 0; c < cases; ++c) {
        const int rank = 1 + int(random_bits() % 4);
        std::vector<Axis> axes(static_cast<size_t>(rank));
        std::vector<size_t> order;
        int64_t mask = 1, step = 1, total = 1;
        for (int i = rank - 1; i >= 0; --i) {
            Axis &axis = axes[size_t(i)];
            axis.size = 1 + int64_t(random_bits() % (rank < 3 ? 300 : 25));
            axis.mask = random_bits() % 4 == 0 ? 0 : mask;
            mask *= axis.size + int64_t(random_bits() % 3);
            total *= axis.size;
            order.insert(order.begin() + int64_t(random_bits() % (order.size() + 1)), size_t(i));
        }
        for (size_t i : order) axes[i].dst = axes[i].src = axes[i].residual = step, step *= axes[i].size;
        const int type = int(random_bits() % 4);
        const int64_t keep = 1 + int64_t(random_bits() % 65535);
        const uint64_t key = random_bits(), offset = random_bits() % 1000;
        const Addresses a{&key, &keep, 0, 0, 3};
        const std::vector<char> x = noise(total * kItemSize[type]);
        std::vector<char> out = noise(total * kItemSize[type]);
        use_kernels(name);
        dropout_strided(Form::dropout, Dtype(type), {out.data(), x.data(), nullptr}, {1, 0, 0, 0}, axes, offset, a, 1 + c % 3);
        for (int64_t i = 0; i < total; ++i) {  // the element alone, as a tensor of one
            int64_t left = i, place = 0, index = 0;
            for (int axis = rank - 1; axis >= 0; --axis) {
                const int64_t at = left % axes[size_t(axis)].size;
                left /= axes[size_t(axis)].size;
                place += at * axes[size_t(axis)].dst, index += at * axes[size_t(axis)].mask;
            }
            char one[8];
            const int64_t size = kItemSize[type];
            use_kernels("portable");
            dropout(Form::dropout, Dtype(type), {one, x.data() + place * size, nullptr}, 1, 1, offset + uint64_t(index), a, 1);
            expect(std::memcmp(one, out.data() + place * size, size_t(size)) == 0, std::string("layout by ") + name);
        }
    }
    return cases;
}

}  // namespace

int main(int count, char **arguments) {
    const int layouts = count > 1 ? std::atoi(arguments[1]) : 20;
    for (const char *const *name = kernel_names(); *name != nullptr; ++name) {
        const int cases = compare_contiguous(*name);
        compare_masks_and_normals(*name);
        std::printf("%s: %d runs, %d layouts equal\n", *name, cases, compare_layouts(*name, layouts));
#ifdef THINNED_COHORT
        std::printf("%s: %d trainings near double precision\n", *name, compare_cohorts(*name));
#endif
    }
}
