// PyTorch's workers spin for a while after each of its operations, so threads of our own would compete with them for the
// cores. Where PyTorch uses GNU OpenMP we therefore run on that runtime's workers, found in the libtorch that is loaded;
// elsewhere, and in a forked child (where libgomp would wait for threads that fork left behind), on a pool of our own.
#include "threads.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#include <pthread.h>
#endif

namespace thinned {
namespace {

struct Job {
    void (*work)(void *, int64_t, int64_t);
    void *context;
    int64_t items;
    int parts;
    std::atomic<int> next{0};

    // Takes parts until none is left.
    void run() {
        for (int part; (part = next.fetch_add(1)) < parts;) {
            work(context, items * part / parts, items * (part + 1) / parts);
        }
    }
};

class Pool {
public:
    // False where another thread is using the pool.
    bool run(Job &job) {
        std::unique_lock<std::mutex> user(user_, std::try_to_lock);
        if (!user.owns_lock()) return false;
        {
            std::lock_guard<std::mutex> lock(mutex_);
            for (; workers_ < job.parts - 1; ++workers_) std::thread([this] { work(); }).detach();
            job_ = &job;
            ++generation_;
        }
        wake_.notify_all();
        job.run();
        std::unique_lock<std::mutex> lock(mutex_);
        job_ = nullptr;  // workers that wake up late find nothing
        idle_.wait(lock, [&] { return running_ == 0; });
        return true;
    }

private:
    void work() {
        uint64_t seen = 0;
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            wake_.wait(lock, [&] { return generation_ != seen; });
            seen = generation_;
            if (job_ == nullptr) continue;
            Job &job = *job_;
            ++running_;
            lock.unlock();
            job.run();
            lock.lock();
            if (--running_ == 0) idle_.notify_all();
        }
    }

    std::mutex user_, mutex_;
    std::condition_variable wake_, idle_;
    Job *job_ = nullptr;
    uint64_t generation_ = 0;
    int workers_ = 0, running_ = 0;
};

// Never destroyed: its detached workers live as long as the process.
std::atomic<Pool *> pool{nullptr};
std::atomic<bool> forked{false};

Pool &own_pool() {
    Pool *current = pool.load();
    if (current == nullptr) {
        Pool *fresh = new Pool;
        if (pool.compare_exchange_strong(current, fresh)) return *fresh;
        delete fresh;
    }
    return *current;
}

using Gomp = void (*)(void (*)(void *), void *, unsigned, unsigned);

Gomp find_gomp() {
#if defined(__linux__)
    // NOLOAD: only a libtorch that is there already; its handle also searches what it links to, its own libgomp first
    for (const char *name : {"libtorch_cpu.so", "libtorch.so"})
        if (void *library = dlopen(name, RTLD_LAZY | RTLD_NOLOAD))
            if (void *symbol = dlsym(library, "GOMP_parallel")) return reinterpret_cast<Gomp>(symbol);
#endif
    return nullptr;
}

struct Start {
    Gomp gomp = find_gomp();
    Start() {
#if defined(__unix__) || defined(__APPLE__)
        pthread_atfork(nullptr, nullptr, [] {
            forked.store(true);
            pool.store(nullptr);  // the old pool's threads are gone and its mutex may be held
        });
#endif
    }
};

const Start &start() {
    static const Start value;
    return value;
}

}  // namespace

void parallel(int threads, int64_t items, void (*work)(void *, int64_t, int64_t), void *context) {
    const int parts = int(threads < items ? threads : items);
    if (parts <= 1) {
        if (items > 0) work(context, 0, items);
        return;
    }
    Job job{work, context, items, parts, {}};
    const Gomp gomp = start().gomp;
    if (gomp != nullptr && !forked.load())
        gomp([](void *j) { static_cast<Job *>(j)->run(); }, &job, unsigned(parts), 0);
    else if (!own_pool().run(job))
        job.run();
}

}  // namespace thinned
