#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <stdexcept>
#include <thread>

namespace brimstone::dose {

/// A calculation was stopped by whoever asked for it.
class Canceled : public std::runtime_error {
public:
    Canceled() : std::runtime_error("the dose calculation was canceled") {}
};

/// Says how far a calculation is, and asks whether it should go on; always on the thread that began it.
class Monitor {
public:
    /// @param report  gets what is done and all there is; false stops the calculation. May be null.
    using Report = std::function<bool(std::size_t done, std::size_t total)>;
    Monitor(Report report, std::size_t total) : report_(std::move(report)), total_(total) {}

    /// Says that another part of the work, of `total` parts, is done.
    void add(double parts) {
        double now = done_.load();
        while (!done_.compare_exchange_weak(now, now + parts)) {
        }
        ask();
    }
    /// Work looks here now and then, and returns early.
    bool stopped() const { return stopped_.load(std::memory_order_relaxed); }
    void throw_if_stopped() const {
        if (stopped()) {
            throw Canceled();
        }
    }
    void finish() {
        if (report_ && !stopped()) {
            report_(total_, total_);
        }
    }
    /// Asks, but not more often than a user can notice.
    void ask() {
        constexpr std::chrono::milliseconds interval{100};
        if (!report_ || stopped() || std::this_thread::get_id() != owner_) {
            return;
        }
        const auto now = std::chrono::steady_clock::now();
        if (now - last_ < interval) {
            return;
        }
        last_ = now;
        const auto done = static_cast<std::size_t>(done_.load());
        if (!report_(done < total_ ? done : total_, total_)) {
            stopped_ = true;
        }
    }

private:
    Report report_;
    std::size_t total_;
    std::atomic<double> done_{0.0};
    std::atomic<bool> stopped_{false};
    std::thread::id owner_ = std::this_thread::get_id();
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

} // namespace brimstone::dose
