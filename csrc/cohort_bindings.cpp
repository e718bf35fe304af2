// The trainer as Python sees it: arrays are checked here; the GIL is released, and a lock held, while it computes.
#include "cohort_bindings.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "cohort_trainer.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace thinned;

namespace {

using Rows = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <class T>
using Vector = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Matrix = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <class T>
using Flat = nb::ndarray<T, nb::c_contig, nb::device::cpu>;

template <class T>
struct Table {
    Matrix<T> x;
    Vector<T> y;

    Table(Matrix<T> x_, Vector<T> y_, int64_t classes) : x(std::move(x_)), y(std::move(y_)) {
        if (x.shape(0) != y.shape(0)) throw std::invalid_argument("x and y must have the same number of rows");
        if (classes > 0) check_classes(view(), classes);
    }
    Examples<T> view() const { return {x.data(), y.data(), int64_t(x.shape(0)), int64_t(x.shape(1))}; }
};

template <class T>
class Trainer {
public:
    Trainer(int64_t inputs, std::vector<int64_t> hidden, int64_t outputs, int64_t batch, Loss loss, Norm norm, bool shared,
            double learning_rate, double kept, double limit, const std::vector<uint64_t> &keys)
        : trainer_({inputs, std::move(hidden), outputs, batch, loss, norm, shared}, {learning_rate, kept, limit, 0}, keys) {}

    void set_parameters(const std::vector<Flat<const T>> &from) {
        const std::vector<const T *> values = pointers<const T>(from);
        alone([&] { trainer_.set_parameters(values); });
    }
    void parameters(const std::vector<Flat<T>> &to) {
        const std::vector<T *> values = pointers<T>(to);
        alone([&] { trainer_.parameters(values); });
    }
    void set_keep(const std::vector<int64_t> &keep) {
        alone([&] { trainer_.set_keep(keep); });
    }

    void train(const Table<T> &table, const Rows &order) {
        const int64_t batch = trainer_.shape().batch, n = int64_t(order.shape(0));
        if (n % batch != 0) throw std::invalid_argument("the rows must make whole batches");
        const Examples<T> examples = table.view();
        alone([&] { trainer_.train(examples, order.data(), n / batch); });
    }
    double loss(const Table<T> &table, const Rows &rows) {
        const Examples<T> examples = table.view();
        double mean = 0;
        alone([&] { mean = trainer_.loss(examples, rows.data(), int64_t(rows.shape(0))); });
        return mean;
    }
    void outputs(const Table<T> &table, const Rows &rows, const nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu> &out) {
        const int64_t n = int64_t(rows.shape(0));
        if (int64_t(out.shape(0)) != n || int64_t(out.shape(1)) != trainer_.shape().outputs)
            throw std::invalid_argument("the outputs must be (rows, outputs)");
        const Examples<T> examples = table.view();
        alone([&] { trainer_.evaluate(examples, rows.data(), n, out.data()); });
    }
    void keep_best() {
        alone([&] { trainer_.keep_best(); });
    }
    void restore_best() {
        alone([&] { trainer_.restore_best(); });
    }

private:
    // One thread at a time is in the trainer, with a GIL or without. It is waited for without the GIL.
    template <class Function>
    void alone(Function &&function) {
        nb::gil_scoped_release release;
        std::lock_guard<std::mutex> lock(mutex_);
        function();
    }
    template <class U>
    std::vector<U *> pointers(const std::vector<Flat<U>> &arrays) const {
        const std::vector<int64_t> sizes = trainer_.sizes();
        if (arrays.size() != sizes.size()) throw std::invalid_argument("parameters must be those of the network");
        std::vector<U *> out;
        for (size_t i = 0; i < sizes.size(); ++i) {
            if (int64_t(arrays[i].size()) != sizes[i]) throw std::invalid_argument("parameters must have the network's shapes");
            out.push_back(arrays[i].data());
        }
        return out;
    }

    MlpTrainer<T> trainer_;
    std::mutex mutex_;
};

template <class T>
void register_dtype(nb::module_ &m, const char *table, const char *trainer) {
    nb::class_<Table<T>>(m, table, "Rows to train on: x (rows, columns) and y (rows,), which live as long as this.")
        .def(nb::init<Matrix<T>, Vector<T>, int64_t>(), "x"_a, "y"_a, "classes"_a,
             "`classes`, where not 0, is the number of class codes that y may hold.");
    nb::class_<Trainer<T>>(m, trainer, "A multilayer perceptron in training; see csrc/cohort_trainer.h.")
        .def(nb::init<int64_t, std::vector<int64_t>, int64_t, int64_t, Loss, Norm, bool, double, double, double,
                      const std::vector<uint64_t> &>(),
             "inputs"_a, "hidden"_a, "outputs"_a, "batch"_a, "loss"_a, "norm"_a, "shared"_a, "learning_rate"_a, "kept"_a,
             "limit"_a, "keys"_a)
        .def("set_parameters", &Trainer<T>::set_parameters, "tensors"_a, "Begin with these values.")
        .def("parameters", &Trainer<T>::parameters, nb::arg("out").noconvert(), "Fill these arrays with the present values.")
        .def("set_keep", &Trainer<T>::set_keep, "keep"_a, "The threshold of each dropout site.")
        .def("train", &Trainer<T>::train, "table"_a, nb::arg("order").noconvert(), "Steps on batches of these rows.")
        .def("loss", &Trainer<T>::loss, "table"_a, nb::arg("rows").noconvert(), "Mean loss, dropout off.")
        .def("outputs", &Trainer<T>::outputs, "table"_a, nb::arg("rows").noconvert(),
             nb::arg("out").noconvert(), "Fill `out` with the outputs, dropout off.")
        .def("keep_best", &Trainer<T>::keep_best, "Keep the present values as the best.")
        .def("restore_best", &Trainer<T>::restore_best, "Go back to the best values.");
}

}  // namespace

void register_cohort(nb::module_ &m) {
    nb::enum_<Loss>(m, "Loss", "The loss of a row.")
        .value("binary", Loss::binary)
        .value("multiclass", Loss::multiclass)
        .value("squared", Loss::squared);
    nb::enum_<Norm>(m, "Norm", "Whether the hidden layers have batch norm, and what dropout stands before or after.")
        .value("none", Norm::none)
        .value("before", Norm::before)
        .value("after", Norm::after);
    m.def("trainer_isa", [] { return std::string(cohort_isa()); }, "The instruction set that trains cohorts.");
    register_dtype<float>(m, "TableF32", "TrainerF32");
    register_dtype<double>(m, "TableF64", "TrainerF64");
}
