// A multilayer perceptron in training: what the loops of an instruction set work on. The layout of its matrices is that of
// the instruction set: panels of `panel` outputs, each [k][panel], so that a tile of a product reads memory in order.
#pragma once
#include <cstddef>
#include <cstdint>

namespace thinned {

enum class Loss : int { binary = 0, multiclass = 1, squared = 2 };
enum class Norm : int { none = 0, before = 1, after = 2 };  // dropout "before" the batch norm, or "after" it and ReLU

// Values that are learned, with Adam's first and second moments, each `size` elements.
template <class T>
struct Parameter {
    T *value, *mean, *square;
    int64_t size;
};

// A dropout site: kept are the elements whose lane is below `keep`; 65536 is a site that does not drop.
struct Site {
    uint64_t key;
    uint32_t keep;
    bool shared;    // the decisions of one row serve all rows
    uint8_t *bits;  // of a batch
};

// A term of a product's sum: the distance of its two factors from the first of a row, and from the first of a column.
struct Term {
    int64_t a, b;
};

template <class T>
struct Layer {
    int64_t inputs, outputs;
    int64_t k, n;    // inputs and outputs with padding, whose weights stay 0
    int64_t stride;  // elements from one row of inputs to the next
    Parameter<T> weight, bias, scale, shift;  // no bias with batch norm; scale and shift with it alone
    T *running_mean, *running_variance;
    Site site;
    // of a batch: where all its rows drop the same inputs, the others are `kept` in number, and first in `order`, which
    // holds all k; elsewhere `kept` is -1
    int64_t kept, *order;
    // of a batch, `rows` of the network apart
    T *y;          // output, [rows][n]
    T *standard;   // with batch norm, its input standardised, [rows][n]
    T *deviation;  // with batch norm, the reciprocal of the standard deviation, [n]
    T *dy;         // gradient of the product, [rows][n]
    T *dyt;        // its transpose, [n][rows]
    T *dxt;        // gradient of the input, transposed, [stride][rows]
};

// The rows of a table; y holds class codes as numbers.
template <class T>
struct Examples {
    const T *x, *y;
    int64_t rows, columns;
};

struct Adam {
    double learning_rate;
    double kept;   // what weight decay leaves of a matrix in a step
    double limit;  // largest norm of a hidden unit's incoming weights; 0 sets none
    int64_t steps;
};

template <class T>
struct Network {
    Layer<T> *layers;  // the last is the output
    int64_t depth;     // number of layers
    int64_t batch;     // rows of a step
    int64_t rows;      // the same, padded to whole panels
    Norm norm;
    Loss loss;
    Site input;
    Adam adam;
    // of a batch
    T *x;       // gathered rows, [rows][stride of the first layer]
    T *target;  // [rows]
    // where a batch drops inputs
    Term *terms;  // of a product, as many as the largest has
    T *gradient;  // of a panel's weights, [k][panel] of the largest
};

// What an instruction set offers; chosen along with its `Kernels`.
template <class T>
struct CohortKernels {
    const char *name;
    int64_t panel, low, unit;  // rows of a product: at least `low`, and a multiple of `unit`
    // Whole batches of rows of the table.
    void (*train)(Network<T> &, const Examples<T> &, const int64_t *order, int64_t steps);
    // Outputs of up to a batch of rows, dropout off: [n][outputs].
    void (*evaluate)(Network<T> &, const Examples<T> &, const int64_t *index, int64_t n, T *outputs);
};

#ifdef THINNED_COHORT
extern const CohortKernels<float> kCohortPortable;
extern const CohortKernels<double> kCohortDouble;
#ifdef THINNED_X86
extern const CohortKernels<float> kCohortAvx2, kCohortAvx512;
#endif
#ifdef THINNED_NEON
extern const CohortKernels<float> kCohortNeon;
#endif
#endif

}  // namespace thinned
