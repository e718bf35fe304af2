#include "cohort_trainer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "kernels.h"
#include "threads.h"

namespace thinned {
namespace {

template <class T>
const CohortKernels<T> &cohort_kernels();
template <>
const CohortKernels<double> &cohort_kernels() {
    return kCohortDouble;
}
template <>
const CohortKernels<float> &cohort_kernels() {
#ifdef THINNED_X86
    if (std::strcmp(kernels().name, kCohortAvx512.name) == 0) return kCohortAvx512;
    if (std::strcmp(kernels().name, kCohortAvx2.name) == 0 && __builtin_cpu_supports("fma")) return kCohortAvx2;
#endif
#ifdef THINNED_NEON
    if (std::strcmp(kernels().name, kCohortNeon.name) == 0) return kCohortNeon;
#endif
    return kCohortPortable;
}

int64_t padded(int64_t n, int64_t unit) { return ceil_div(n, unit) * unit; }

void require(bool holds, const char *message) {
    if (!holds) throw std::invalid_argument(message);
}

// Hands out the parts of a block of memory: first to learn its size, then the memory itself.
template <class T>
struct Parts {
    T *base = nullptr;
    int64_t used = 0;

    T *operator()(int64_t n) {
        constexpr int64_t line = 64 / int64_t(sizeof(T));
        T *part = base == nullptr || n == 0 ? nullptr : base + used;
        used += padded(n, line);
        return part;
    }
};

template <class T>
T loss_of(Loss loss, const T *z, int64_t outputs, T target) {
    if (loss == Loss::squared) return (z[0] - target) * (z[0] - target);
    if (loss == Loss::binary) return std::fmax(z[0], T(0)) - z[0] * target + std::log1p(std::exp(-std::abs(z[0])));
    T most = z[0], total = 0;
    for (int64_t o = 1; o < outputs; ++o) most = std::max(most, z[o]);
    for (int64_t o = 0; o < outputs; ++o) total += std::exp(z[o] - most);
    return std::log(total) - (z[int64_t(target)] - most);
}

}  // namespace

template <class T>
T *Aligned<T>::resize(int64_t n) {
    constexpr int64_t line = 64 / int64_t(sizeof(T));
    if (n > capacity_) {
        memory_.reset();  // before the larger one, not beside it
        data_ = nullptr, size_ = capacity_ = 0;  // should there be no memory for that
        memory_.reset(new T[size_t(n + line)]);
        capacity_ = n;
        const uintptr_t address = reinterpret_cast<uintptr_t>(memory_.get());
        data_ = memory_.get() + (64 - address % 64) % 64 / sizeof(T);
    }
    std::memset(static_cast<void *>(data_), 0, size_t(n) * sizeof(T));
    size_ = n;
    return data_;
}

const char *cohort_isa() { return cohort_kernels<float>().name; }

template <class T>
MlpTrainer<T>::MlpTrainer(const MlpShape &shape, const Adam &adam, const std::vector<uint64_t> &keys)
    : shape_(shape), kernels_(cohort_kernels<T>()) {
    require(shape.inputs > 0 && shape.outputs > 0 && shape.batch > 0 && !shape.hidden.empty(),
            "a network needs inputs, hidden layers, outputs and a batch");
    require(std::all_of(shape.hidden.begin(), shape.hidden.end(), [](int64_t n) { return n > 0; }),
            "hidden layers need at least one unit");
    require(shape.loss == Loss::multiclass ? shape.outputs > 1 : shape.outputs == 1, "the outputs must fit the loss");
    require(shape.norm == Norm::none || shape.batch > 1, "batch norm needs a batch of at least two rows");
    require(keys.size() == shape.hidden.size() + 2, "each dropout site needs a key");
    const int64_t panel = kernels_.panel;
    const int64_t depth = int64_t(shape.hidden.size()) + 1;
    layers_.resize(size_t(depth));
    int64_t inputs = shape.inputs;
    for (int64_t l = 0; l < depth; ++l) {
        Layer<T> &layer = layers_[size_t(l)];
        const bool single = l == depth - 1 && shape.outputs == 1;
        layer = {};
        layer.inputs = inputs;
        layer.outputs = l < depth - 1 ? shape.hidden[size_t(l)] : shape.outputs;
        layer.k = std::max(padded(inputs, kernels_.unit), kernels_.low), layer.stride = padded(inputs, panel);
        layer.n = single ? 1 : padded(layer.outputs, panel);
        layer.weight.size = single ? layer.stride : layer.k * layer.n;
        const bool norm = l < depth - 1 && shape.norm != Norm::none;
        layer.bias.size = norm ? 0 : std::max(layer.n, panel);
        layer.scale.size = layer.shift.size = norm ? layer.n : 0;
        inputs = layer.outputs;
    }
    network_ = {layers_.data(), depth, shape.batch, padded(shape.batch, panel), shape.norm, shape.loss, {}, adam,
                nullptr, nullptr, nullptr, nullptr};
    Parts<T> size, moments_size;
    for (int pass = 0; pass < 2; ++pass) {
        Parts<T> learned{pass == 0 ? nullptr : learned_.resize(size.used)};
        Parts<T> moments{pass == 0 ? nullptr : moments_.resize(moments_size.used)};
        for (Layer<T> &layer : layers_) {
            for (Parameter<T> *p : {&layer.weight, &layer.bias, &layer.scale, &layer.shift})
                *p = {learned(p->size), moments(p->size), moments(p->size), p->size};
            layer.running_mean = learned(layer.scale.size), layer.running_variance = learned(layer.scale.size);
        }
        size = learned, moments_size = moments;
    }
    best_.resize(learned_.size());
    for (size_t s = 0; s < keys.size(); ++s)
        *site(s) = {keys[s], 65536, shape.shared && s > 0 && s <= shape.hidden.size(), nullptr};
}

template <class T>
Site *MlpTrainer<T>::site(size_t number) {
    return number == 0 ? &network_.input : &layers_[number - 1].site;
}

// function(layer, memory, vector): the tensors in torch's order; not a vector is the matrix.
template <class T>
template <class Function>
void MlpTrainer<T>::each_tensor(Function &&function) const {
    for (const Layer<T> &layer : layers_) {
        function(layer, layer.weight.value, false);
        for (T *vector : {layer.bias.value, layer.scale.value, layer.shift.value, layer.running_mean, layer.running_variance})
            if (vector != nullptr) function(layer, vector, true);
    }
}

template <class T>
std::vector<int64_t> MlpTrainer<T>::sizes() const {
    std::vector<int64_t> sizes;
    each_tensor([&](const Layer<T> &layer, T *, bool vector) {
        sizes.push_back(vector ? layer.outputs : layer.inputs * layer.outputs);
    });
    return sizes;
}

namespace {

// The place of a weight in its layer's memory.
template <class T>
int64_t place(const Layer<T> &layer, int64_t panel, int64_t output, int64_t input) {
    if (layer.n == 1) return input;
    return output / panel * panel * layer.k + input * panel + output % panel;
}

}  // namespace

template <class T>
void MlpTrainer<T>::set_parameters(const std::vector<const T *> &from) {
    size_t number = 0;
    each_tensor([&](const Layer<T> &layer, T *memory, bool vector) {
        const T *own = from[number++];
        if (vector) return void(std::memcpy(memory, own, size_t(layer.outputs) * sizeof(T)));
        for (int64_t o = 0; o < layer.outputs; ++o)
            for (int64_t i = 0; i < layer.inputs; ++i)
                memory[place(layer, kernels_.panel, o, i)] = own[o * layer.inputs + i];
    });
    keep_best();
}

template <class T>
void MlpTrainer<T>::parameters(const std::vector<T *> &to) const {
    size_t number = 0;
    each_tensor([&](const Layer<T> &layer, const T *memory, bool vector) {
        T *own = to[number++];
        if (vector) return void(std::memcpy(own, memory, size_t(layer.outputs) * sizeof(T)));
        for (int64_t o = 0; o < layer.outputs; ++o)
            for (int64_t i = 0; i < layer.inputs; ++i)
                own[o * layer.inputs + i] = memory[place(layer, kernels_.panel, o, i)];
    });
}

template <class T>
void MlpTrainer<T>::set_keep(const std::vector<int64_t> &keep) {
    require(keep.size() == layers_.size() + 1, "each dropout site needs a threshold");
    require(std::all_of(keep.begin(), keep.end(), [](int64_t k) { return k > 0 && k <= 65536; }),
            "thresholds must lie in 1 to 65,536");
    for (size_t s = 0; s < keep.size(); ++s) site(s)->keep = uint32_t(keep[s]);
}

// Memory for a batch belongs to the thread: a network needs it for the length of a call.
template <class T>
void MlpTrainer<T>::borrow_workspace() {
    static thread_local Aligned<T> numbers;
    static thread_local Aligned<uint8_t> bits;
    static thread_local Aligned<int64_t> order;
    static thread_local Aligned<Term> terms;
    const int64_t rows = network_.rows;
    int64_t most = rows, inputs = 0;
    for (const Layer<T> &layer : layers_)
        most = std::max({most, layer.k, layer.n}), inputs = std::max(inputs, layer.k);
    network_.terms = terms.resize(most);
    Parts<T> size;
    Parts<uint8_t> bit_size;
    Parts<int64_t> order_size;
    for (int pass = 0; pass < 2; ++pass) {
        Parts<T> part{pass == 0 ? nullptr : numbers.resize(size.used)};
        Parts<uint8_t> bit_part{pass == 0 ? nullptr : bits.resize(bit_size.used)};
        Parts<int64_t> order_part{pass == 0 ? nullptr : order.resize(order_size.used)};
        const auto decisions = [&](int64_t columns) { return bit_part(16 * ceil_div(rows * columns, 128) + 16); };
        network_.x = part(rows * layers_[0].stride), network_.target = part(rows);
        network_.gradient = part(inputs * kernels_.panel);
        network_.input.bits = decisions(shape_.inputs);
        for (Layer<T> &layer : layers_) {
            layer.y = part(rows * layer.n), layer.dy = part(rows * layer.n), layer.dyt = part(rows * layer.n);
            layer.dxt = part(rows * layer.stride);
            layer.standard = part(layer.scale.size > 0 ? rows * layer.n : 0);
            layer.deviation = part(layer.scale.size);
            layer.site.bits = decisions(layer.outputs);
            layer.order = order_part(layer.k);
        }
        size = part, bit_size = bit_part, order_size = order_part;
    }
}

template <class T>
void MlpTrainer<T>::check(const Examples<T> &examples, const int64_t *index, int64_t n) const {
    require(examples.columns == shape_.inputs, "the columns must be the network's inputs");
    for (int64_t i = 0; i < n; ++i)
        if (index[i] < 0 || index[i] >= examples.rows) throw std::out_of_range("row numbers must lie within the rows");
}

template <class T>
void MlpTrainer<T>::train(const Examples<T> &examples, const int64_t *order, int64_t steps) {
    check(examples, order, steps * shape_.batch);
    borrow_workspace();
    kernels_.train(network_, examples, order, steps);
}

template <class T>
void MlpTrainer<T>::evaluate(const Examples<T> &examples, const int64_t *index, int64_t n, T *outputs) {
    check(examples, index, n);
    borrow_workspace();
    for (int64_t at = 0; at < n; at += shape_.batch)
        kernels_.evaluate(network_, examples, index + at, std::min(shape_.batch, n - at), outputs + at * shape_.outputs);
}

template <class T>
double MlpTrainer<T>::loss(const Examples<T> &examples, const int64_t *index, int64_t n) {
    check(examples, index, n);
    borrow_workspace();
    std::vector<T> outputs(size_t(shape_.batch * shape_.outputs));
    double total = 0;
    for (int64_t at = 0; at < n; at += shape_.batch) {
        const int64_t rows = std::min(shape_.batch, n - at);
        kernels_.evaluate(network_, examples, index + at, rows, outputs.data());
        for (int64_t r = 0; r < rows; ++r)
            total += double(loss_of(shape_.loss, outputs.data() + r * shape_.outputs, shape_.outputs,
                                    examples.y[index[at + r]]));
    }
    return total / double(n);
}

template <class T>
void MlpTrainer<T>::keep_best() {
    std::memcpy(best_.data(), learned_.data(), size_t(learned_.size()) * sizeof(T));
}

template <class T>
void MlpTrainer<T>::restore_best() {
    std::memcpy(learned_.data(), best_.data(), size_t(learned_.size()) * sizeof(T));
}

template <class T>
void check_classes(const Examples<T> &examples, int64_t outputs) {
    for (int64_t r = 0; r < examples.rows; ++r)
        require(examples.y[r] >= 0 && examples.y[r] < T(outputs) && examples.y[r] == T(int64_t(examples.y[r])),
                "class codes must be whole numbers below the number of outputs");
}

template class MlpTrainer<float>;
template class MlpTrainer<double>;
template void check_classes(const Examples<float> &, int64_t);
template void check_classes(const Examples<double> &, int64_t);

}  // namespace thinned
