#include "brimstone/line_search.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "brimstone/brent.hpp"
#include "brimstone/parallel.hpp"
#include "brimstone/vector_math.hpp"

namespace brimstone {

namespace {

constexpr int max_evaluations = 60;

std::vector<double> point_on(const Line& line, double step) {
    std::vector<double> point = line.start;
    add_scaled(step, line.direction, point);
    return point;
}

LineMinimum lower_or_none(const Line& line, double step, double cost) {
    if (cost < line.start_cost) {
        return {step, cost};
    }
    return {0.0, line.start_cost};
}

/// Doses along a line as polynomials of the step.
class DoseAlongLine {
public:
    static constexpr int nodes = 5; ///< the first one is the line's start
    static constexpr int n_rhs = 2 * (nodes - 1);

    DoseAlongLine(LevelObjective& objective, const Line& line, double length)
        : prescription_(objective.prescription()), start_(objective.state().pair) {
        for (int k = 0; k < nodes; ++k) {
            const double angle = pi * k / (nodes - 1);
            position_[static_cast<std::size_t>(k)] = 0.5 * length * (1.0 - std::cos(angle));
        }
        objective.check_interruption();
        std::vector<float> pairs(objective.size() * n_rhs);
        for (int k = 1; k < nodes; ++k) {
            objective.weight_pairs(point_on(line, position_[static_cast<std::size_t>(k)]), n_rhs,
                                   pairs.data() + 2 * (k - 1));
        }
        doses_.resize(prescription_.matrix().rows() * n_rhs);
        prescription_.matrix().multiply(pairs.data(), n_rhs, doses_.data(), prescription_.threads());
    }

    double cost(double step) {
        const std::array<double, nodes> basis = lagrange_basis(step);
        constexpr std::size_t voxels_per_piece = 4096;
        const std::size_t voxels = prescription_.matrix().rows();
        at_step_.pair.resize(2 * voxels);
        std::vector<double> maximum((voxels + voxels_per_piece - 1) / voxels_per_piece, 0.0);
        parallel_pieces(voxels, voxels_per_piece, prescription_.threads(),
                        [&](std::size_t piece, std::size_t begin, std::size_t end) {
                            maximum[piece] = interpolate(basis, begin, end);
                        });
        at_step_.maximum = maximum.empty() ? 0.0 : *std::max_element(maximum.begin(), maximum.end());
        return prescription_.cost(at_step_);
    }

private:
    static constexpr double pi = 3.14159265358979323846;

    std::array<double, nodes> lagrange_basis(double step) const {
        std::array<double, nodes> basis{};
        for (std::size_t k = 0; k < nodes; ++k) {
            basis[k] = 1.0;
            for (std::size_t i = 0; i < nodes; ++i) {
                if (i != k) {
                    basis[k] *= (step - position_[i]) / (position_[k] - position_[i]);
                }
            }
        }
        return basis;
    }

    /// Fills in the doses of some voxels and returns the highest.
    double interpolate(const std::array<double, nodes>& basis, std::size_t begin, std::size_t end) {
        const bool has_base = !prescription_.base_dose().empty();
        double maximum = 0.0;
        for (std::size_t voxel = begin; voxel < end; ++voxel) {
            // The basis sums to 1: what does not change along the line needs no node.
            const double base = has_base ? (1.0 - basis[0]) * prescription_.base_dose()[voxel] : 0.0;
            const float* const node = doses_.data() + voxel * n_rhs;
            double dose = basis[0] * start_[2 * voxel] + base;
            double wide = basis[0] * start_[2 * voxel + 1];
            for (std::size_t k = 1; k < nodes; ++k) {
                dose += basis[k] * static_cast<double>(node[2 * (k - 1)]);
                wide += basis[k] * static_cast<double>(node[2 * (k - 1) + 1]);
            }
            dose = std::max(0.0, dose);
            at_step_.pair[2 * voxel] = dose;
            at_step_.pair[2 * voxel + 1] = std::clamp(wide, 0.0, dose);
            maximum = std::max(maximum, dose);
        }
        return maximum;
    }

    const Prescription& prescription_;
    const std::vector<double> start_; ///< doses at the start, laid out as DoseState::pair
    std::array<double, nodes> position_{};
    std::vector<float> doses_;
    DoseState at_step_;
};

} // namespace

LineMinimum BrentLineSearch::minimise(LevelObjective& objective, const Line& line, double tolerance) {
    const auto cost_at = [&](double step) { return objective.cost(point_on(line, step)); };
    const Minimum minimum =
        brent_minimum_along(cost_at, line.start_cost, line.first_step, tolerance, max_evaluations);
    return lower_or_none(line, minimum.position, minimum.value);
}

LineMinimum InterpolatedLineSearch::minimise(LevelObjective& objective, const Line& line, double tolerance) {
    constexpr int attempts = 6;
    constexpr double growth = 4.0;
    constexpr double longest = 16.0; // parameters span about ±12
    double length = std::min(2.0 * line.first_step, longest);
    for (int attempt = 0; attempt < attempts; ++attempt) {
        DoseAlongLine doses(objective, line, length);
        const Minimum minimum = brent_minimum([&](double step) { return doses.cost(step); }, 0.0, length,
                                              tolerance, max_evaluations);
        const bool at_end = minimum.position > 0.98 * length && length < longest;
        const bool at_start = minimum.position < 0.02 * length;
        if (at_end) {
            length = std::min(growth * length, longest);
        } else if (at_start) {
            length /= 2.0 * growth;
        } else {
            const double cost = objective.cost(point_on(line, minimum.position));
            const double promised = line.start_cost - minimum.value;
            if (line.start_cost - cost > 0.5 * promised) {
                return lower_or_none(line, minimum.position, cost);
            }
            objective.cost(line.start);
            length = minimum.position;
        }
    }
    return reference_.minimise(objective, line, tolerance);
}

} // namespace brimstone
