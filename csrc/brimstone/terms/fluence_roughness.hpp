#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace brimstone {

/// What the jumps between neighboring beamlets of a fluence map cost: their total variation, smoothed where
/// they are small.
class FluenceRoughness {
public:
    using Neighbors = std::pair<std::uint32_t, std::uint32_t>;

    /// @param weight  cost of a jump by one unit, if it were not smoothed
    /// @param unit    in MU
    FluenceRoughness(std::vector<Neighbors> neighbors, double weight, double unit);

    double cost(const std::vector<double>& weights) const;
    /// Adds ∂cost/∂w and returns the cost.
    double add_gradient(const std::vector<double>& weights, std::vector<double>& gradient) const;

private:
    std::vector<Neighbors> neighbors_;
    double weight_;
    double unit_;
};

} // namespace brimstone
