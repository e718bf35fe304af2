// A multilayer perceptron's training and evaluation, written once over the vectors of an instruction set, which the
// including file defines: see cohort_vectors.h.
#pragma once
#include "cohort_backward.h"

namespace thinned {
namespace {

template <class T>
struct Loops : Backward<T> {
    using Base = Backward<T>;
    using Base::backward, Base::bound, Base::decide, Base::drop_input, Base::forward, Base::gather, Base::loss_gradient,
        Base::whole;
    using typename Base::Step;

    static void step(Network<T> &net, const Examples<T> &data, const int64_t *index) {
        const int64_t call = net.adam.steps++, rows = whole(net.batch);
        const Step step(net.adam);
        for (int64_t l = 0; l < net.depth; ++l) net.layers[l].kept = -1;
        gather(net, data, index, net.batch);
        decide(net.input, net.batch, net.layers[0].inputs, call);
        for (int64_t l = 0; l < net.depth; ++l) {
            const Site &site = net.layers[l].site;
            decide(site, net.batch, net.layers[l].outputs, call);
            // a batch norm behind the dropout gives dropped units an output
            if (site.shared && drops(site) && net.norm != Norm::before) Base::sort_inputs(site, net.layers[l + 1]);
        }
        if (drops(net.input)) drop_input(net);
        forward(net, rows, true);
        loss_gradient(net);
        backward(net, step);
        if (net.adam.limit > 0)
            for (int64_t l = 0; l < net.depth - 1; ++l) bound(net.layers[l], T(net.adam.limit));
    }

    static void train(Network<T> &net, const Examples<T> &data, const int64_t *order, int64_t steps) {
        for (int64_t s = 0; s < steps; ++s) step(net, data, order + s * net.batch);
    }
    static void evaluate(Network<T> &net, const Examples<T> &data, const int64_t *index, int64_t n, T *outputs) {
        gather(net, data, index, n);
        for (int64_t l = 0; l < net.depth; ++l) net.layers[l].kept = -1;
        forward(net, whole(n), false);
        const Layer<T> &last = net.layers[net.depth - 1];
        for (int64_t r = 0; r < n; ++r)
            for (int64_t o = 0; o < last.outputs; ++o) outputs[r * last.outputs + o] = last.y[r * last.n + o];
    }
};

template <class T>
constexpr CohortKernels<T> cohort_kernels_named(const char *name) {
    return {name, Loops<T>::panel, Loops<T>::low, Loops<T>::unit, &Loops<T>::train, &Loops<T>::evaluate};
}

}  // namespace
}  // namespace thinned
