// The gradients of a multilayer perceptron's parameters, each of which learns as soon as its gradient is there.
#pragma once
#include "cohort_forward.h"

namespace thinned {
namespace {

THINNED_INLINE float exponential(float x) { return __builtin_expf(x); }
THINNED_INLINE double exponential(double x) { return __builtin_exp(x); }
THINNED_INLINE double power(double base, int64_t exponent) { return __builtin_pow(base, double(exponent)); }

template <class T>
struct Backward : Forward<T> {
    using Base = Forward<T>;
    using typename Base::V;
    using Base::across, Base::drop_rows, Base::gated, Base::load, Base::next, Base::panel, Base::product, Base::root,
        Base::scale_of, Base::set, Base::store, Base::tile, Base::transpose, Base::width;

    // Adam (Kingma & Ba 2015) as torch's fused kernel computes it.
    struct Step {
        V mean_rate, square_kept, square_rate, root_scale, floor, rate, kept;

        explicit Step(const Adam &a)
            : mean_rate(set(T(1 - 0.9))),
              square_kept(set(T(0.999))),
              square_rate(set(T(1 - 0.999))),
              root_scale(set(T(1 / __builtin_sqrt(1 - power(0.999, a.steps))))),
              floor(set(T(1e-8))),
              rate(set(T(a.learning_rate / (1 - power(0.9, a.steps))))),
              kept(set(T(a.kept))) {}
    };
    template <bool decays>
    THINNED_INLINE static void learn(const Parameter<T> &p, int64_t at, V gradient, const Step &step) {
        V value = load(p.value + at), mean = load(p.mean + at), square = load(p.square + at);
        mean += (gradient - mean) * step.mean_rate;
        // in torch's order, so that what overflows there does so here
        square = square * step.square_kept + step.square_rate * gradient * gradient;
        if constexpr (decays) value *= step.kept;
        value -= step.rate * mean / (root(square) * step.root_scale + step.floor);
        store(p.value + at, value), store(p.mean + at, mean), store(p.square + at, square);
    }

    // The gradient of the mean loss by the outputs: from y to dy of the last layer.
    static void loss_gradient(const Network<T> &net) {
        const Layer<T> &last = net.layers[net.depth - 1];
        const bool drop = drops(last.site);
        const T scale = drop ? scale_of(last.site) : T(1), share = T(1) / T(net.batch);
        for (int64_t r = 0; r < net.batch; ++r) {
            T *z = last.y + r * last.n, *d = last.dy + r * last.n;
            const auto factor = [&](int64_t o) {
                const int64_t at = r * last.outputs + o;
                return drop && !((last.site.bits[at >> 3] >> (at & 7)) & 1) ? T(0) : scale;
            };
            if (drop)
                for (int64_t o = 0; o < last.outputs; ++o) z[o] = factor(o) == 0 ? T(0) : z[o] * scale;
            if (net.loss == Loss::binary) {
                d[0] = (1 / (1 + exponential(-z[0])) - net.target[r]) * share;
            } else if (net.loss == Loss::squared) {
                d[0] = 2 * (z[0] - net.target[r]) * share;
            } else {
                T most = z[0], total = 0;
                for (int64_t o = 1; o < last.outputs; ++o) most = z[o] > most ? z[o] : most;
                for (int64_t o = 0; o < last.outputs; ++o) total += d[o] = exponential(z[o] - most);
                for (int64_t o = 0; o < last.outputs; ++o) d[o] = d[o] / total * share;
                d[int64_t(net.target[r])] -= share;
            }
            if (drop)
                for (int64_t o = 0; o < last.outputs; ++o) d[o] *= factor(o);
        }
    }

    // dy, transposed.
    static void turn(const Layer<T> &layer, int64_t rows) {
        for (int64_t n = 0; n < layer.n; n += width)
            for (int64_t r = 0; r < rows; r += width) {
                V square[width];
#pragma GCC unroll 16
                for (int i = 0; i < width; ++i) square[i] = load(layer.dy + (r + i) * layer.n + n);
                transpose(square);
#pragma GCC unroll 16
                for (int i = 0; i < width; ++i) store(layer.dyt + (n + i) * rows + r, square[i]);
            }
    }
    // The gradient of the layer's input, transposed; of what a batch drops it is not computed, which `gate` knows.
    static void input_gradient(const Network<T> &net, int64_t number) {
        const Layer<T> &layer = net.layers[number];
        alignas(64) T sums[tile * panel];
        const int64_t rows = net.rows, count = layer.kept < 0 ? layer.k : Base::whole(layer.kept);
        const int64_t terms = layer.kept < 0 ? 0 : output_terms(net, number);
        for (int64_t k = 0, taken; k < count; k += taken) {
            taken = next(count - k);
            for (int64_t r = 0; r < rows; r += panel) {
                if (layer.kept < 0) {
                    product(int(taken), layer.weight.value + k * panel, panel, 1, layer.k * panel, layer.dyt + r, rows,
                            panel, layer.n / panel, sums);
                } else {
                    const T *at[tile];
                    for (int i = 0; i < taken; ++i) at[i] = layer.weight.value + layer.order[k + i] * panel;
                    product(int(taken), at, layer.dyt + r, net.terms, terms, sums);
                }
                for (int i = 0; i < taken; ++i) {
                    T *to = layer.dxt + (layer.kept < 0 ? k + i : layer.order[k + i]) * rows + r;
#pragma GCC unroll 4
                    for (int j = 0; j < across; ++j) store(to + j * width, load(sums + (i * across + j) * width));
                }
            }
        }
    }
    // The terms of sums over a layer's outputs: those that the layer above it has among its inputs.
    static int64_t output_terms(const Network<T> &net, int64_t number) {
        const Layer<T> &layer = net.layers[number];
        const Layer<T> *above = number + 1 < net.depth ? &layer + 1 : nullptr;
        const bool all = above == nullptr || above->kept < 0;
        const int64_t count = all ? layer.outputs : above->kept;
        for (int64_t i = 0; i < count; ++i) {
            const int64_t n = all ? i : above->order[i];
            net.terms[i] = {n / panel * panel * layer.k + n % panel, n * net.rows};
        }
        return count;
    }
    // The gradient of a hidden layer's output before ReLU and the dropout after it, from that of the layer above.
    static void gate(const Layer<T> &layer, const T *dxt, int64_t rows, T factor) {
        const V scale = set(factor);
        for (int64_t n = 0; n < layer.n; n += width)
            for (int64_t r = 0; r < rows; r += width) {
                V square[width];
#pragma GCC unroll 16
                for (int i = 0; i < width; ++i) square[i] = load(dxt + (n + i) * rows + r);
                transpose(square);
#pragma GCC unroll 16
                for (int i = 0; i < width; ++i) {
                    const int64_t at = (r + i) * layer.n + n;
                    store(layer.dy + at, gated(square[i] * scale, load(layer.y + at)));
                }
            }
    }

    // The one output unit: its gradient, and that of the hidden layer below, in one pass.
    static void single_output(const Layer<T> &last, const Layer<T> &layer, int64_t rows, T factor, const Step &step) {
        for (int64_t n = 0; n < layer.n; n += width) {
            const V weight = load(last.weight.value + n) * set(factor);
            V gradient{};
            for (int64_t r = 0; r < rows; ++r) {
                const V y = load(layer.y + r * layer.n + n), d = set(last.dy[r]);
                gradient += y * d;
                store(layer.dy + r * layer.n + n, gated(weight * d, y));
            }
            learn<true>(last.weight, n, gradient, step);
        }
        V total{};
        for (int64_t r = 0; r < rows; ++r) total[0] += last.dy[r];
        learn<false>(last.bias, 0, total, step);
    }

    // From the gradient of a batch norm's output, in dy, to that of its input; its scale and shift learn.
    static void norm_gradient(const Layer<T> &layer, int64_t rows, const Step &step) {
        const V count = set(T(rows));
        for (int64_t n = 0; n < layer.n; n += width) {
            V by_scale{}, by_shift{};
            for (int64_t r = 0; r < rows; ++r) {
                const V d = load(layer.dy + r * layer.n + n);
                by_shift += d;
                by_scale += d * load(layer.standard + r * layer.n + n);
            }
            const V factor = load(layer.scale.value + n) * load(layer.deviation + n);
            const V mean = by_shift / count, slope = by_scale / count;
            for (int64_t r = 0; r < rows; ++r) {
                T *at = layer.dy + r * layer.n + n;
                store(at, factor * (load(at) - mean - load(layer.standard + r * layer.n + n) * slope));
            }
            learn<false>(layer.scale, n, by_scale, step);
            learn<false>(layer.shift, n, by_shift, step);
        }
    }

    static void learn_weights(const Network<T> &net, const Layer<T> &layer, const T *x, const Step &step) {
        if (layer.kept >= 0) return learn_kept_weights(net, layer, x, step);
        alignas(64) T sums[tile * panel];
        for (int64_t p = 0; p < layer.n; p += panel)
            for (int64_t k = 0, taken; k < layer.k; k += taken) {
                taken = next(layer.k - k);
                product(int(taken), x + k, 1, layer.stride, 0, layer.dy + p, layer.n, net.batch, 1, sums);
#pragma GCC unroll 4
                for (int e = 0; e < taken * panel; e += width)
                    learn<true>(layer.weight, p * layer.k + k * panel + e, load(sums + e), step);
            }
    }
    // The same where a batch drops inputs, whose weights learn from gradients of 0; in the order of memory.
    static void learn_kept_weights(const Network<T> &net, const Layer<T> &layer, const T *x, const Step &step) {
        alignas(64) T sums[tile * panel];
        const int64_t count = Base::whole(layer.kept), size = layer.k * panel;
        for (int64_t r = 0; r < net.batch; ++r) net.terms[r] = {r * layer.stride, r * layer.n};
        __builtin_memset(net.gradient, 0, size_t(size) * sizeof(T));
        for (int64_t p = 0; p < layer.n; p += panel) {
            for (int64_t k = 0, taken; k < count; k += taken) {
                taken = next(count - k);
                const T *at[tile];
                for (int i = 0; i < taken; ++i) at[i] = x + layer.order[k + i];
                product(int(taken), at, layer.dy + p, net.terms, net.batch, sums);
                for (int i = 0; i < taken; ++i)
#pragma GCC unroll 4
                    for (int j = 0; j < across; ++j)
                        store(net.gradient + layer.order[k + i] * panel + j * width,
                              load(sums + (i * across + j) * width));
            }
#pragma GCC unroll 4
            for (int64_t e = 0; e < size; e += width)
                learn<true>(layer.weight, p * layer.k + e, load(net.gradient + e), step);
        }
    }
    static void learn_bias(const Layer<T> &layer, int64_t rows, const Step &step) {
        for (int64_t p = 0; p < layer.n; p += panel) {
            V sums[across] = {};
            for (int64_t r = 0; r < rows; ++r)
#pragma GCC unroll 4
                for (int j = 0; j < across; ++j) sums[j] += load(layer.dy + r * layer.n + p + j * width);
            for (int j = 0; j < across; ++j) learn<false>(layer.bias, p + j * width, sums[j], step);
        }
    }

    static void backward(const Network<T> &net, const Step &step) {
        const Layer<T> &last = net.layers[net.depth - 1];
        const auto factor = [&](const Layer<T> &layer) {
            return drops(layer.site) && net.norm != Norm::before ? scale_of(layer.site) : T(1);
        };
        const int64_t top = net.depth - 2;
        if (last.outputs == 1) {
            single_output(last, net.layers[top], net.batch, factor(net.layers[top]), step);
        } else {
            turn(last, net.rows);
            input_gradient(net, net.depth - 1);
            learn_weights(net, last, net.layers[top].y, step);
            learn_bias(last, net.batch, step);
            gate(net.layers[top], last.dxt, net.rows, factor(net.layers[top]));
        }
        for (int64_t l = top; l >= 0; --l) {
            const Layer<T> &layer = net.layers[l];
            if (net.norm != Norm::none) norm_gradient(layer, net.batch, step);
            if (net.norm == Norm::before && drops(layer.site)) drop_rows(layer, layer.dy, net.batch);
            if (l > 0) {
                turn(layer, net.rows);
                input_gradient(net, l);
            }
            learn_weights(net, layer, l > 0 ? net.layers[l - 1].y : net.x, step);
            if (net.norm == Norm::none) learn_bias(layer, net.batch, step);
            if (l > 0) gate(net.layers[l - 1], layer.dxt, net.rows, factor(net.layers[l - 1]));
        }
    }

    // Scales units whose incoming weights have a larger norm than the limit back to it (Srivastava et al. 2014, §5.1).
    static void bound(const Layer<T> &layer, T limit) {
        const V one = set(1), floor = set(T(1e-12));
        for (int64_t p = 0; p < layer.n; p += panel) {
            T *weights = layer.weight.value + p * layer.k;
            V factors[across] = {};
            for (int64_t k = 0; k < layer.k; ++k)
                for (int j = 0; j < across; ++j) {
                    const V weight = load(weights + k * panel + j * width);
                    factors[j] += weight * weight;
                }
            for (int j = 0; j < across; ++j) {
                const V norm = root(factors[j]), factor = set(limit) / (norm < floor ? floor : norm);
                factors[j] = factor > one ? one : factor;
            }
            for (int64_t k = 0; k < layer.k; ++k)
                for (int j = 0; j < across; ++j) {
                    T *at = weights + k * panel + j * width;
                    store(at, load(at) * factors[j]);
                }
        }
    }
};

}  // namespace
}  // namespace thinned
