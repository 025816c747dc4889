#pragma once

#include <cstddef>
#include <deque>
#include <vector>

#include "brimstone/support/archive.hpp"

namespace brimstone {

/// Diagonal of the covariance that adapts to the directions already searched.
///
/// The searched directions are orthonormalized from the newest (kept exact) to the oldest. The direction that
/// is a searches old carries base^(−a) (max − min) + min, what was never searched carries max. Directions
/// older than `memory` all carry min and are kept as one projector, by an orthonormal basis of everything
/// searched.
class DynamicCovariance {
public:
    DynamicCovariance(std::size_t size, double variance_min, double variance_max, double base,
                      std::size_t memory);

    /// Takes note of a search direction; a zero direction changes nothing.
    void add_direction(const std::vector<double>& direction);

    /// Variance of each parameter, in [variance_min, variance_max].
    const std::vector<double>& variance() const { return variance_; }

    void save(Archive& archive) const;
    void restore(const Archive& archive);

private:
    void extend_basis(const std::vector<double>& unit);
    void update_variance();

    std::size_t size_;
    double min_;
    double max_;
    double base_;
    std::size_t memory_;
    std::deque<std::vector<double>> recent_; ///< unit search directions, newest first
    std::vector<std::vector<double>> basis_; ///< of everything searched
    std::vector<double> searched_;           ///< diagonal of the projector on the basis
    std::vector<double> variance_;
};

} // namespace brimstone
