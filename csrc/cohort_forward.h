// A multilayer perceptron's outputs, written once over the vectors of an instruction set. Rows of a batch lie apart by a
// whole number of panels; padding holds zeros, whose weights have no gradient and stay 0.
#pragma once
#include "cohort_vectors.h"
#include "kernels.h"

namespace thinned {
namespace {

THINNED_INLINE bool drops(const Site &site) { return site.keep < 65536; }

constexpr double kMomentum = 0.1, kVarianceFloor = 1e-5;  // torch's defaults of a batch norm
constexpr int64_t kFewestDropped = 24;                    // inputs that are worth leaving out, measured on Zen 3

template <class T>
struct Forward : Vectors<T> {
    using Base = Vectors<T>;
    using typename Base::I;
    using typename Base::V;
    using Base::across, Base::gated, Base::load, Base::mask, Base::masked, Base::next, Base::panel, Base::product,
        Base::relu, Base::root, Base::set, Base::store, Base::tile, Base::transpose, Base::unit, Base::width;

    // Rows to compute for n of them.
    static int64_t whole(int64_t n) { return n < Base::low ? Base::low : (n + unit - 1) / unit * unit; }
    static T scale_of(const Site &site) { return T(65536.0 / site.keep); }

    static void decide(const Site &site, int64_t rows, int64_t columns, int64_t call) {
        const int64_t count = site.shared ? columns : rows * columns;
        if (drops(site)) kernels().bits(site.bits, 0, (count + 127) / 128, {site.key, uint64_t(call), site.keep});
    }
    THINNED_INLINE static I decisions(const Site &site, int64_t columns, int64_t row, int64_t column) {
        return mask(site.bits, site.shared ? column : row * columns + column);
    }

    static void gather(Network<T> &net, const Examples<T> &data, const int64_t *index, int64_t n) {
        const int64_t stride = net.layers[0].stride;
        for (int64_t r = 0; r < n; ++r) {
            __builtin_memcpy(net.x + r * stride, data.x + index[r] * data.columns, size_t(data.columns) * sizeof(T));
            net.target[r] = data.y[index[r]];
        }
    }
    static void drop_input(Network<T> &net) {
        const Layer<T> &first = net.layers[0];
        const V scale = set(scale_of(net.input));
        for (int64_t r = 0; r < net.batch; ++r)
            for (int64_t c = 0; c < first.inputs; c += width) {
                T *at = net.x + r * first.stride + c;
                store(at, masked(load(at) * scale, decisions(net.input, first.inputs, r, c)));
            }
    }

    // Sorts the inputs of a layer after one with this site: those that a batch keeps come first. Sums without the others'
    // zeros have the same bits, so that it is a matter of time alone where they are left out: lists cost some, too.
    static void sort_inputs(const Site &site, Layer<T> &above) {
        int64_t kept = 0, last = above.k;
        for (int64_t i = 0; i < above.k; ++i) {
            const bool keeps = i < above.inputs && ((site.bits[i >> 3] >> (i & 7)) & 1);
            above.order[keeps ? kept : last - 1] = i;
            keeps ? ++kept : --last;
        }
        const int64_t dropped = above.inputs - kept;
        above.kept = dropped >= kFewestDropped && dropped * 4 >= above.inputs ? kept : -1;
    }

    // Rows times the weights of the inputs that are not 0 in all rows; `finish` takes row, column and vector.
    template <class Finish>
    THINNED_INLINE static void multiply(const Network<T> &net, const Layer<T> &layer, const T *x, int64_t rows,
                                        Finish finish) {
        alignas(64) T sums[tile * panel];
        for (int64_t i = 0; i < layer.kept; ++i) net.terms[i] = {layer.order[i], layer.order[i] * panel};
        for (int64_t p = 0; p < layer.n; p += panel)
            for (int64_t r = 0, taken; r < rows; r += taken) {
                taken = next(rows - r);
                const T *own = x + r * layer.stride, *weights = layer.weight.value + p * layer.k;
                if (layer.kept < 0) {
                    product(int(taken), own, layer.stride, 1, 0, weights, panel, layer.k, 1, sums);
                } else {
                    const T *at[tile];
                    for (int i = 0; i < taken; ++i) at[i] = own + i * layer.stride;
                    product(int(taken), at, weights, net.terms, layer.kept, sums);
                }
                for (int i = 0; i < taken; ++i)
#pragma GCC unroll 4
                    for (int j = 0; j < across; ++j)
                        finish(r + i, p + j * width, load(sums + (i * across + j) * width));
            }
    }

    static void hidden(const Network<T> &net, const Layer<T> &layer, const T *x, int64_t rows, bool training) {
        const bool drop = training && drops(layer.site);
        const V scale = drop ? set(scale_of(layer.site)) : V{};
        if (net.norm == Norm::none && drop) {
            multiply(net, layer, x, rows, [&](int64_t r, int64_t n, V sum) __attribute__((always_inline)) {
                const V y = relu(sum + load(layer.bias.value + n)) * scale;
                store(layer.y + r * layer.n + n, masked(y, decisions(layer.site, layer.outputs, r, n)));
            });
        } else if (net.norm == Norm::none) {
            multiply(net, layer, x, rows, [&](int64_t r, int64_t n, V sum) __attribute__((always_inline)) {
                store(layer.y + r * layer.n + n, relu(sum + load(layer.bias.value + n)));
            });
        } else {
            multiply(net, layer, x, rows, [&](int64_t r, int64_t n, V sum) __attribute__((always_inline)) {
                store(layer.standard + r * layer.n + n, sum);
            });
            if (drop && net.norm == Norm::before) drop_rows(layer, layer.standard, net.batch);
            training ? normalise_batch(net.batch, layer) : normalise(layer, rows);
            if (drop && net.norm == Norm::after) drop_rows(layer, layer.y, net.batch);
        }
    }
    static void drop_rows(const Layer<T> &layer, T *values, int64_t rows) {
        const V scale = set(scale_of(layer.site));
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t n = 0; n < layer.n; n += width) {
                T *at = values + r * layer.n + n;
                store(at, masked(load(at) * scale, decisions(layer.site, layer.outputs, r, n)));
            }
    }

    // `standard` from the batch norm's input to the same standardised by the batch; y follows.
    static void normalise_batch(int64_t rows, const Layer<T> &layer) {
        const V count = set(T(rows)), momentum = set(T(kMomentum)), unbiased = count / (count - 1);
        for (int64_t n = 0; n < layer.n; n += width) {
            T *at = layer.standard + n;
            V mean{}, variance{};
            for (int64_t r = 0; r < rows; ++r) mean += load(at + r * layer.n);
            mean /= count;
            for (int64_t r = 0; r < rows; ++r) {
                const V from_mean = load(at + r * layer.n) - mean;
                variance += from_mean * from_mean;
            }
            variance /= count;
            const V deviation = 1 / root(variance + T(kVarianceFloor));
            store(layer.deviation + n, deviation);
            T *running = layer.running_mean + n, *spread = layer.running_variance + n;
            store(running, load(running) * (1 - momentum) + mean * momentum);
            store(spread, load(spread) * (1 - momentum) + variance * unbiased * momentum);
            const V scale = load(layer.scale.value + n), shift = load(layer.shift.value + n);
            for (int64_t r = 0; r < rows; ++r) {
                const V standard = (load(at + r * layer.n) - mean) * deviation;
                store(at + r * layer.n, standard);
                store(layer.y + r * layer.n + n, relu(standard * scale + shift));
            }
        }
    }
    // The same by the running statistics.
    static void normalise(const Layer<T> &layer, int64_t rows) {
        for (int64_t n = 0; n < layer.n; n += width) {
            const V scale = load(layer.scale.value + n) / root(load(layer.running_variance + n) + T(kVarianceFloor));
            const V shift = load(layer.shift.value + n), mean = load(layer.running_mean + n);
            for (int64_t r = 0; r < rows; ++r)
                store(layer.y + r * layer.n + n, relu((load(layer.standard + r * layer.n + n) - mean) * scale + shift));
        }
    }

    // The output layer; one unit alone has its weights in a row.
    static void output(const Network<T> &net, const Layer<T> &layer, const T *x, int64_t rows) {
        if (layer.outputs > 1) {
            multiply(net, layer, x, rows, [&](int64_t r, int64_t n, V sum) __attribute__((always_inline)) {
                store(layer.y + r * layer.n + n, sum + load(layer.bias.value + n));
            });
            return;
        }
        for (int64_t r = 0; r < rows; r += unit) {
            V sums[unit] = {};
            for (int64_t k = 0; k < layer.stride; k += width) {
                const V weight = load(layer.weight.value + k);
#pragma GCC unroll 16
                for (int i = 0; i < unit; ++i) sums[i] += weight * load(x + (r + i) * layer.stride + k);
            }
            for (int i = 0; i < unit; ++i) layer.y[r + i] = Base::sum(sums[i]) + layer.bias.value[0];
        }
    }
    // The last layer's y.
    static void forward(const Network<T> &net, int64_t rows, bool training) {
        const T *x = net.x;
        for (int64_t l = 0; l < net.depth - 1; ++l) {
            hidden(net, net.layers[l], x, rows, training);
            x = net.layers[l].y;
        }
        output(net, net.layers[net.depth - 1], x, rows);
    }
};

}  // namespace
}  // namespace thinned
