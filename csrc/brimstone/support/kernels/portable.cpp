#include <cstdint>

namespace {

/// 16 numbers, in whatever registers there are.
struct Lanes {
    float lane[16];

    static Lanes broadcast(float value) {
        Lanes result;
        for (float& l : result.lane) {
            l = value;
        }
        return result;
    }
    static Lanes from_values(const std::uint16_t* value) {
        Lanes result;
        for (int i = 0; i < 16; ++i) {
            result.lane[i] = static_cast<float>(static_cast<std::int32_t>(value[i]));
        }
        return result;
    }
    static Lanes load(const float* from) {
        Lanes result;
        for (int i = 0; i < 16; ++i) {
            result.lane[i] = from[i];
        }
        return result;
    }
    void store(float* to) const {
        for (int i = 0; i < 16; ++i) {
            to[i] = lane[i];
        }
    }
    friend Lanes operator+(const Lanes& a, const Lanes& b) {
        Lanes result;
        for (int i = 0; i < 16; ++i) {
            result.lane[i] = a.lane[i] + b.lane[i];
        }
        return result;
    }
    friend Lanes operator*(const Lanes& a, const Lanes& b) {
        Lanes result;
        for (int i = 0; i < 16; ++i) {
            result.lane[i] = a.lane[i] * b.lane[i];
        }
        return result;
    }
    /// In the order in which registers are halved.
    float sum() const {
        float half[8];
        for (int i = 0; i < 8; ++i) {
            half[i] = lane[i] + lane[i + 8];
        }
        float quarter[4];
        for (int i = 0; i < 4; ++i) {
            quarter[i] = half[i] + half[i + 4];
        }
        return (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
    }
};

} // namespace

#include "brimstone/support/kernels/loops.hpp"

namespace brimstone {
extern const Kernels portable_kernels;
constexpr Kernels portable_kernels = kernels_named("portable");
} // namespace brimstone
