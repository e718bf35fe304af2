// A multilayer perceptron that trains: the owner of the memory that the loops of an instruction set work on.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "cohort.h"

namespace thinned {

struct MlpShape {
    int64_t inputs;
    std::vector<int64_t> hidden;
    int64_t outputs, batch;
    Loss loss;
    Norm norm;
    bool shared;  // the hidden layers drop the same units of all rows of a batch
};

// Memory on a boundary of 64 bytes.
template <class T>
class Aligned {
public:
    // Zeros.
    T *resize(int64_t n);
    T *data() { return data_; }
    int64_t size() const { return size_; }

private:
    std::unique_ptr<T[]> memory_;
    T *data_ = nullptr;
    int64_t size_ = 0, capacity_ = 0;
};

// Parameters come and go in torch's layout, in the order of its modules: of each hidden layer the matrix, then the bias;
// or the matrix, then the batch norm's scale, shift, running mean and running variance; last the output's matrix and bias.
// Dropout sites are the input, the hidden layers and the output. Not for two threads at a time.
template <class T>
class MlpTrainer {
public:
    // `keys`: one of each site. Throws std::invalid_argument.
    MlpTrainer(const MlpShape &shape, const Adam &adam, const std::vector<uint64_t> &keys);
    MlpTrainer(const MlpTrainer &) = delete;
    MlpTrainer &operator=(const MlpTrainer &) = delete;

    std::vector<int64_t> sizes() const;  // of the parameters, in elements
    void set_parameters(const std::vector<const T *> &from);
    void parameters(const std::vector<T *> &to) const;
    void set_keep(const std::vector<int64_t> &keep);  // of each site

    // Row numbers are of the examples, and checked: std::out_of_range.
    void train(const Examples<T> &examples, const int64_t *order, int64_t steps);
    void evaluate(const Examples<T> &examples, const int64_t *index, int64_t n, T *outputs);
    double loss(const Examples<T> &examples, const int64_t *index, int64_t n);  // the mean, dropout off

    void keep_best();     // the present parameters, as the best
    void restore_best();  // the best ones, as the present

    const MlpShape &shape() const { return shape_; }

private:
    template <class Function>
    void each_tensor(Function &&function) const;
    Site *site(size_t number);
    void borrow_workspace();
    void check(const Examples<T> &examples, const int64_t *index, int64_t n) const;

    MlpShape shape_;
    const CohortKernels<T> &kernels_;
    std::vector<Layer<T>> layers_;
    Network<T> network_;
    Aligned<T> learned_, moments_, best_;
};

// The instruction set that trains in single precision: that of `kernels()`, or the portable one.
const char *cohort_isa();

// Class codes must be whole numbers from 0 on, below `outputs`: std::invalid_argument.
template <class T>
void check_classes(const Examples<T> &examples, int64_t outputs);

}  // namespace thinned
