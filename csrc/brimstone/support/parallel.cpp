#include "brimstone/support/parallel.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>

#ifdef __linux__
#include <sched.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace brimstone {

namespace {

/// Work that several threads take piece by piece.
class Job {
public:
    Job(std::size_t count, int helpers, const std::function<void(std::size_t)>& body)
        : body_(body), count_(count), helpers_wanted_(helpers) {}

    /// Whether one more thread may help.
    bool admit_helper() { return helpers_wanted_.fetch_sub(1) > 0; }

    /// Takes pieces until none is left. The body outlives every piece taken, as the caller waits for those.
    void work() {
        for (std::size_t i = next_.fetch_add(1); i < count_; i = next_.fetch_add(1)) {
            try {
                body_(i);
            } catch (...) {
                const std::scoped_lock lock(mutex_);
                if (!failure_) {
                    failure_ = std::current_exception();
                }
            }
            if (finished_.fetch_add(1) + 1 == count_) {
                const std::scoped_lock lock(mutex_);
                all_finished_.notify_all();
            }
        }
    }

    void wait() {
        std::unique_lock lock(mutex_);
        all_finished_.wait(lock, [this] { return finished_.load() == count_; });
        if (failure_) {
            std::rethrow_exception(failure_);
        }
    }

private:
    const std::function<void(std::size_t)>& body_;
    const std::size_t count_;
    std::atomic<int> helpers_wanted_;
    std::atomic<std::size_t> next_{0};
    std::atomic<std::size_t> finished_{0};
    std::mutex mutex_;
    std::condition_variable all_finished_;
    std::exception_ptr failure_;
};

/// Threads that sleep until there is a job to help with.
class Helpers {
public:
    /// Never destroyed: its threads sleep until the process ends.
    static Helpers& shared() {
        Helpers* found = current.load();
        if (found == nullptr) {
            auto* const made = new Helpers;
            if (current.compare_exchange_strong(found, made)) {
                return *made;
            }
            delete made; // another thread was first
        }
        return *found;
    }

    /// A forked process has none of the threads, and its copy of their lock may be held by one of them for
    /// ever.
    static void forget() { current.store(nullptr); }

    void offer(const std::shared_ptr<Job>& job, int helpers) {
        {
            const std::scoped_lock lock(mutex_);
            for (; n_threads_ < helpers; ++n_threads_) {
                std::thread([this] { serve(); }).detach();
            }
            job_ = job;
            ++jobs_offered_;
        }
        job_offered_.notify_all();
    }

private:
    [[noreturn]] void serve() {
        std::size_t jobs_seen = 0;
        for (;;) {
            const std::shared_ptr<Job> job = next_job(jobs_seen);
            if (job->admit_helper()) {
                job->work();
            }
        }
    }

    std::shared_ptr<Job> next_job(std::size_t& jobs_seen) {
        // Jobs often follow each other within microseconds, too soon to fall asleep.
        constexpr std::chrono::microseconds awake{200};
        const auto since = std::chrono::steady_clock::now();
        while (jobs_offered_.load() == jobs_seen && std::chrono::steady_clock::now() - since < awake) {
        }
        std::unique_lock lock(mutex_);
        job_offered_.wait(lock, [&] { return jobs_offered_.load() != jobs_seen; });
        jobs_seen = jobs_offered_.load();
        return job_;
    }

    static inline std::atomic<Helpers*> current{nullptr};

    std::mutex mutex_;
    std::condition_variable job_offered_;
    std::shared_ptr<Job> job_;
    std::atomic<std::size_t> jobs_offered_{0};
    int n_threads_ = 0;
};

#if defined(__unix__) || defined(__APPLE__)
[[maybe_unused]] const int fork_is_watched = pthread_atfork(nullptr, nullptr, &Helpers::forget);
#endif

} // namespace

int default_threads() {
#ifdef __linux__
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) {
        return CPU_COUNT(&allowed);
    }
#endif
    const unsigned threads = std::thread::hardware_concurrency();
    return threads > 0 ? static_cast<int>(threads) : 1;
}

void parallel_for(std::size_t count, int threads, const std::function<void(std::size_t)>& body) {
    if (count <= 1 || threads <= 1) {
        for (std::size_t i = 0; i < count; ++i) {
            body(i);
        }
        return;
    }
    const int helpers = static_cast<int>(std::min(count, static_cast<std::size_t>(threads))) - 1;
    const auto job = std::make_shared<Job>(count, helpers, body);
    Helpers::shared().offer(job, helpers);
    job->work();
    job->wait();
}

} // namespace brimstone
