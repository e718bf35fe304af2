// The part of the self-test that trains: every instruction set against double precision, on small networks of every kind.
#include <cmath>
#include <string>
#include <thread>
#include <vector>

#include "cohort_trainer.h"
#include "kernels.h"
#include "selftest.h"

namespace thinned {
namespace {

struct Kind {
    MlpShape shape;
    Adam adam;
    std::vector<int64_t> keep;
};

double uniform() { return double(random_bits() >> 11) / 9007199254740992.0 - 0.5; }

// The mean loss after three epochs, and that of the best.
template <class T>
std::vector<double> trained(const Kind &kind, const std::vector<double> &x, const std::vector<double> &y,
                            const std::vector<double> &first) {
    const std::vector<T> own_x(x.begin(), x.end()), own_y(y.begin(), y.end());
    const Examples<T> examples{own_x.data(), own_y.data(), int64_t(y.size()), kind.shape.inputs};
    MlpTrainer<T> trainer(kind.shape, kind.adam, std::vector<uint64_t>(kind.shape.hidden.size() + 2, 7));
    std::vector<std::vector<T>> values;
    size_t used = 0;
    for (int64_t size : trainer.sizes()) {
        values.emplace_back(first.begin() + int64_t(used), first.begin() + int64_t(used) + size);
        used += size_t(size);
    }
    std::vector<const T *> from;
    std::vector<T *> to;
    for (std::vector<T> &value : values) from.push_back(value.data()), to.push_back(value.data());
    trainer.set_parameters(from);
    trainer.set_keep(kind.keep);
    std::vector<int64_t> order;
    for (size_t r = 0; r < y.size(); ++r) order.push_back(int64_t(r * 7 % y.size()));
    std::vector<T> outputs(y.size() * size_t(kind.shape.outputs));
    for (int epoch = 0; epoch < 3; ++epoch) {
        trainer.train(examples, order.data(), int64_t(y.size()) / kind.shape.batch);
        if (epoch == 1) trainer.keep_best();
    }
    const double end = trainer.loss(examples, order.data(), int64_t(y.size()));
    trainer.restore_best();
    trainer.parameters(to);
    trainer.evaluate(examples, order.data(), int64_t(y.size()), outputs.data());
    return {end, trainer.loss(examples, order.data(), int64_t(y.size())), double(outputs.back()), double(values[0].back())};
}

// Networks that train at the same time have the bits of one that trains alone.
void compare_threads(const char *name, const Kind &kind, const std::vector<double> &x, const std::vector<double> &y,
                     const std::vector<double> &first, const std::vector<double> &alone) {
    std::vector<std::vector<double>> found(3);
    std::vector<std::thread> threads;
    for (std::vector<double> &one : found) threads.emplace_back([&] { one = trained<float>(kind, x, y, first); });
    for (std::thread &thread : threads) thread.join();
    for (const std::vector<double> &one : found) expect(one == alone, std::string(name) + " cohort, in threads");
}

}  // namespace

int compare_cohorts(const char *name) {
    int cases = 0;
    for (const std::vector<int64_t> &hidden : {std::vector<int64_t>{1}, {16, 16}, {33, 7}, {5, 70, 9}})
        for (int64_t batch : {int64_t(2), int64_t(7), int64_t(32), int64_t(50)})
            for (int loss = 0; loss < 3; ++loss)
                for (int norm = 0; norm < 3; ++norm) {
                    const int64_t rows = 50, inputs = 11, outputs = loss == 1 ? 3 : 1;
                    Kind kind{{inputs, hidden, outputs, batch, Loss(loss), Norm(norm), cases % 2 == 1},
                              {1e-3, 0.999, cases % 3 == 0 ? 0.5 : 0.0, 0},
                              std::vector<int64_t>(hidden.size() + 2, 65536)};
                    for (size_t site = 0; site < kind.keep.size(); ++site)
                        if ((cases >> site) % 2 == 0) kind.keep[site] = 40000;
                    std::vector<double> x, y, first(20000);
                    for (int64_t i = 0; i < rows * inputs; ++i) x.push_back(uniform());
                    for (int64_t r = 0; r < rows; ++r)
                        y.push_back(loss == 2 ? uniform() : double(random_bits() % uint64_t(loss == 1 ? 3 : 2)));
                    for (double &value : first) value = 0.3 + 0.5 * uniform();  // variances are among them
                    const std::vector<double> exact = trained<double>(kind, x, y, first);
                    use_kernels(name);
                    const std::vector<double> ours = trained<float>(kind, x, y, first);
                    if (cases % 12 == 0) compare_threads(name, kind, x, y, first, ours);
                    for (size_t i = 0; i < exact.size(); ++i)
                        expect(std::abs(ours[i] - exact[i]) <= 2e-2 * (1 + std::abs(exact[i])),
                               std::string(name) + " cohort, case " + std::to_string(cases));
                    ++cases;
                }
    return cases;
}

}  // namespace thinned
