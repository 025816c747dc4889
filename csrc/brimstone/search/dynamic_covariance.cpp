#include "brimstone/search/dynamic_covariance.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "brimstone/support/vector_math.hpp"

namespace brimstone {

namespace {

/// Below this, what is left of a unit vector after orthogonalization is rounding.
constexpr double negligible = 1e-8;

/// Makes `vector` orthogonal to the orthonormal `others`; twice, which is enough for full precision.
template <class Others>
bool orthonormalize(std::vector<double>& vector, const Others& others) {
    for (int pass = 0; pass < 2; ++pass) {
        for (const auto& other : others) {
            add_scaled(-dot(vector, other), other, vector);
        }
    }
    const double length = norm(vector);
    if (length < negligible) {
        return false;
    }
    scale(1.0 / length, vector);
    return true;
}

} // namespace

DynamicCovariance::DynamicCovariance(std::size_t size, double variance_min, double variance_max, double base,
                                     std::size_t memory)
    : size_(size), min_(variance_min), max_(variance_max), base_(base), memory_(memory), searched_(size, 0.0),
      variance_(size, variance_max) {}

void DynamicCovariance::add_direction(const std::vector<double>& direction) {
    const double length = norm(direction);
    if (!(length > 0.0)) {
        return;
    }
    std::vector<double> unit = direction;
    scale(1.0 / length, unit);
    extend_basis(unit);
    recent_.push_front(std::move(unit));
    if (recent_.size() > memory_) {
        recent_.pop_back();
    }
    update_variance();
}

void DynamicCovariance::extend_basis(const std::vector<double>& unit) {
    if (basis_.size() == size_) {
        return;
    }
    std::vector<double> fresh = unit;
    if (!orthonormalize(fresh, basis_)) {
        return;
    }
    for (std::size_t i = 0; i < size_; ++i) {
        searched_[i] += fresh[i] * fresh[i];
    }
    basis_.push_back(std::move(fresh));
}

void DynamicCovariance::update_variance() {
    const double range = max_ - min_;
    // Everything searched at the narrow variance, then the recent directions at their own.
    for (std::size_t i = 0; i < size_; ++i) {
        variance_[i] = max_ - range * searched_[i];
    }
    std::vector<std::vector<double>> ordered;
    double share = 1.0;
    for (const auto& direction : recent_) {
        std::vector<double> rest = direction;
        if (orthonormalize(rest, ordered)) {
            for (std::size_t i = 0; i < size_; ++i) {
                variance_[i] += share * range * rest[i] * rest[i];
            }
            ordered.push_back(std::move(rest));
        }
        share /= base_;
    }
    for (double& v : variance_) {
        v = std::clamp(v, min_, max_);
    }
}

void DynamicCovariance::save(Archive& archive) const {
    archive.put_all("recent_directions", recent_);
    archive.put_all("searched_basis", basis_);
    archive.put("searched_share", searched_);
}

void DynamicCovariance::restore(const Archive& archive) {
    archive.get_all("recent_directions", size_, recent_);
    archive.get_all("searched_basis", size_, basis_);
    searched_ = archive.array("searched_share", size_);
    if (recent_.empty()) {
        std::fill(variance_.begin(), variance_.end(), max_);
    } else {
        update_variance();
    }
}

} // namespace brimstone
