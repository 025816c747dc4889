#include "brimstone/line_search.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "brimstone/brent.hpp"
#include "brimstone/kernels/kernels.hpp"
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
    static constexpr std::size_t nodes = LineNodes::count;
    static constexpr int n_rhs = 2 * (static_cast<int>(nodes) - 1);

    /// The objective must stay where it is, at the line's start, as long as doses are asked for.
    DoseAlongLine(LevelObjective& objective, const Line& line, double length)
        : prescription_(objective.prescription()) {
        for (std::size_t k = 0; k < nodes; ++k) {
            const double angle = pi * static_cast<double>(k) / static_cast<double>(nodes - 1);
            position_[k] = 0.5 * length * (1.0 - std::cos(angle));
        }
        objective.check_interruption();
        std::vector<double> pairs(objective.size() * n_rhs);
        for (std::size_t k = 1; k < nodes; ++k) {
            objective.weight_pairs(point_on(line, position_[k]), n_rhs, pairs.data() + 2 * (k - 1));
        }
        const std::size_t voxels = prescription_.matrix().rows();
        doses_ = Buffer<float>(voxels * n_rhs);
        prescription_.matrix().multiply(pairs.data(), n_rhs, doses_.data(), Precision::fast,
                                        prescription_.threads());
        at_step_.resize(voxels);
        node_.start_dose = objective.state().dose();
        node_.start_wide = objective.state().wide_dose();
        for (std::size_t k = 0; k + 1 < nodes; ++k) {
            node_.dose[k] = doses_.data() + 2 * k * voxels;
            node_.wide[k] = doses_.data() + (2 * k + 1) * voxels;
        }
        const std::vector<double>& base_dose = prescription_.base_dose();
        node_.base_dose = base_dose.empty() ? nullptr : base_dose.data();
    }

    double cost(double step) {
        set_basis(step);
        constexpr std::size_t voxels_per_piece = 4096;
        parallel_pieces(at_step_.voxels(), voxels_per_piece, prescription_.threads(),
                        [&](std::size_t, std::size_t begin, std::size_t end) {
                            kernels().interpolate(node_, begin, end, at_step_.dose(), at_step_.wide_dose());
                        });
        at_step_.find_maximum(prescription_.threads());
        return prescription_.cost(at_step_);
    }

private:
    static constexpr double pi = 3.14159265358979323846;

    /// Lagrange's polynomials at a step.
    void set_basis(double step) {
        for (std::size_t k = 0; k < nodes; ++k) {
            node_.share[k] = 1.0;
            for (std::size_t i = 0; i < nodes; ++i) {
                if (i != k) {
                    node_.share[k] *= (step - position_[i]) / (position_[k] - position_[i]);
                }
            }
        }
    }

    const Prescription& prescription_;
    std::array<double, nodes> position_{};
    Buffer<float> doses_; ///< [node 1 …][dose, wide dose][voxel]
    LineNodes node_{};
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
