#include "brimstone/terms/fluence_roughness.hpp"

#include <cmath>
#include <utility>

namespace brimstone {

namespace {

/// Jumps well below this share of the unit cost their square, those well above it their size.
constexpr double small_jump = 0.2;

double smoothed(double jump) {
    return std::sqrt(jump * jump + small_jump * small_jump);
}

} // namespace

FluenceRoughness::FluenceRoughness(std::vector<Neighbors> neighbors, double weight, double unit)
    : neighbors_(std::move(neighbors)), weight_(weight), unit_(unit) {}

double FluenceRoughness::cost(const std::vector<double>& weights) const {
    double sum = 0.0;
    for (const auto& [i, j] : neighbors_) {
        const double jump = (weights[i] - weights[j]) / unit_;
        sum += smoothed(jump) - small_jump;
    }
    return weight_ * sum;
}

double FluenceRoughness::add_gradient(const std::vector<double>& weights,
                                      std::vector<double>& gradient) const {
    double sum = 0.0;
    for (const auto& [i, j] : neighbors_) {
        const double jump = (weights[i] - weights[j]) / unit_;
        const double length = smoothed(jump);
        sum += length - small_jump;
        const double slope = weight_ * jump / (length * unit_);
        gradient[i] += slope;
        gradient[j] -= slope;
    }
    return weight_ * sum;
}

} // namespace brimstone
