#include "dose/kernels/kernels.hpp"

namespace {

/// 16 numbers, in whatever registers there are.
struct Lanes {
    static constexpr int count = 16;
    float lane[count];

    static Lanes broadcast(float value) {
        Lanes result;
        for (float& l : result.lane) {
            l = value;
        }
        return result;
    }
    static Lanes load(const float* from) {
        Lanes result;
        for (int i = 0; i < count; ++i) {
            result.lane[i] = from[i];
        }
        return result;
    }
    void store(float* to) const {
        for (int i = 0; i < count; ++i) {
            to[i] = lane[i];
        }
    }
    static Lanes least(const Lanes& a, const Lanes& b) {
        Lanes result;
        for (int i = 0; i < count; ++i) {
            result.lane[i] = a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i];
        }
        return result;
    }
    static Lanes greatest(const Lanes& a, const Lanes& b) {
        Lanes result;
        for (int i = 0; i < count; ++i) {
            result.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i];
        }
        return result;
    }
    static Lanes look_up(const brimstone::dose::KernelCell* cell, const Lanes& at) {
        Lanes result;
        for (int i = 0; i < count; ++i) {
            const int whole = static_cast<int>(at.lane[i]);
            const float fraction = at.lane[i] - static_cast<float>(whole);
            result.lane[i] = cell[whole].value + cell[whole].rise * fraction;
        }
        return result;
    }
    friend Lanes operator+(const Lanes& a, const Lanes& b) {
        Lanes result;
        for (int i = 0; i < count; ++i) {
            result.lane[i] = a.lane[i] + b.lane[i];
        }
        return result;
    }
    friend Lanes operator-(const Lanes& a, const Lanes& b) {
        Lanes result;
        for (int i = 0; i < count; ++i) {
            result.lane[i] = a.lane[i] - b.lane[i];
        }
        return result;
    }
    friend Lanes operator*(const Lanes& a, const Lanes& b) {
        Lanes result;
        for (int i = 0; i < count; ++i) {
            result.lane[i] = a.lane[i] * b.lane[i];
        }
        return result;
    }
    friend Lanes operator/(const Lanes& a, const Lanes& b) {
        Lanes result;
        for (int i = 0; i < count; ++i) {
            result.lane[i] = a.lane[i] / b.lane[i];
        }
        return result;
    }
};

} // namespace

#include "dose/kernels/loops.hpp"

namespace brimstone::dose {
extern const Kernels portable_kernels;
const Kernels portable_kernels = kernels_named("portable");
} // namespace brimstone::dose
