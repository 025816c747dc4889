#include "brimstone/search/line_search.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "brimstone/search/brent.hpp"
#include "brimstone/support/kernels/kernels.hpp"
#include "brimstone/support/vector_math.hpp"

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

    /// Linear doses at the start of a line, where the objective was evaluated last.
    class Start {
    public:
        Start(const PlanState& state, const Biology* biology) : dose_(2 * state.voxels()) {
            const std::size_t voxels = state.voxels();
            std::copy(state.linear(), state.linear() + 2 * voxels, dose_.data());
            for (std::size_t m = 0; biology != nullptr && m < Biology::n_matrices; ++m) {
                if (biology->further[m].matrix) {
                    further_[m] = Buffer<float>(voxels);
                    std::copy(state.biology.product(m), state.biology.product(m) + voxels,
                              further_[m].data());
                }
            }
        }
        const float* further(std::size_t matrix) const { return further_[matrix].data(); }
        const float* dose() const { return dose_.data(); }
        const float* wide_dose() const { return dose_.data() + dose_.size() / 2; }

    private:
        Buffer<float> dose_;
        std::array<Buffer<float>, Biology::n_matrices> further_;
    };

    DoseAlongLine(LevelObjective& objective, const Line& line, const Start& start, double length)
        : objective_(objective), line_(line) {
        for (std::size_t k = 0; k < nodes; ++k) {
            const double angle = pi * static_cast<double>(k) / static_cast<double>(nodes - 1);
            position_[k] = 0.5 * length * (1.0 - std::cos(angle));
        }
        objective.check_interruption();
        std::vector<double> pairs(objective.size() * n_rhs);
        for (std::size_t k = 1; k < nodes; ++k) {
            objective.weight_pairs(point_on(line, position_[k]), n_rhs, pairs.data() + 2 * (k - 1));
        }
        const Prescription& prescription = objective.prescription();
        dose_.compute(prescription, prescription.matrix(), pairs, start.dose(), start.wide_dose(),
                      prescription.base_dose());
        const Biology* const biology = prescription.biology();
        for (std::size_t m = 0; biology != nullptr && m < Biology::n_matrices; ++m) {
            if (const auto& [matrix, base] = biology->further[m]; matrix) {
                further_[m].compute(prescription, *matrix, pairs, start.further(m), start.further(m), base);
            }
        }
    }

    double cost(double step) {
        set_basis(step);
        return objective_.cost_of_doses(
            point_on(line_, step),
            [&](std::size_t begin, std::size_t end, double* dose, double* wide_dose) {
                kernels().interpolate(dose_.node, begin, end, dose, wide_dose);
            },
            [&](std::size_t begin, std::size_t end, BiologicalState& further, double* scratch) {
                for (std::size_t m = 0; m < Biology::n_matrices; ++m) {
                    if (further_[m].is_known()) {
                        kernels().interpolate(further_[m].node, begin, end, further.product(m), scratch);
                    }
                }
            });
    }

private:
    static constexpr double pi = 3.14159265358979323846;

    /// Products of one matrix at the nodes.
    struct AtNodes {
        LineNodes node{};
        Buffer<float> product; ///< [node 1 …][of the weights, of their wide part][voxel]

        bool is_known() const { return product.size() > 0; }

        void compute(const Prescription& prescription, const DoseMatrix& matrix,
                     const std::vector<double>& pairs, const float* start, const float* start_wide,
                     const std::vector<double>& base) {
            const std::size_t voxels = matrix.rows();
            product = Buffer<float>(voxels * n_rhs);
            matrix.multiply(pairs.data(), n_rhs, product.data(), Precision::fast, prescription.threads());
            node.start_dose = start;
            node.start_wide = start_wide;
            for (std::size_t k = 0; k + 1 < nodes; ++k) {
                node.dose[k] = product.data() + 2 * k * voxels;
                node.wide[k] = product.data() + (2 * k + 1) * voxels;
            }
            node.base_dose = base.empty() ? nullptr : base.data();
        }
    };

    /// Lagrange's polynomials at a step.
    void set_basis(double step) {
        for (std::size_t k = 0; k < nodes; ++k) {
            double share = 1.0;
            for (std::size_t i = 0; i < nodes; ++i) {
                if (i != k) {
                    share *= (step - position_[i]) / (position_[k] - position_[i]);
                }
            }
            dose_.node.share[k] = share;
            for (AtNodes& further : further_) {
                further.node.share[k] = share;
            }
        }
    }

    LevelObjective& objective_;
    const Line& line_;
    std::array<double, nodes> position_{};
    AtNodes dose_;
    std::array<AtNodes, Biology::n_matrices> further_; ///< of the further matrices that there are
};

} // namespace

LineMinimum BrentLineSearch::minimize(LevelObjective& objective, const Line& line, double tolerance) {
    const auto cost_at = [&](double step) { return objective.cost(point_on(line, step)); };
    const Minimum minimum =
        brent_minimum_along(cost_at, line.start_cost, line.first_step, tolerance, max_evaluations);
    return lower_or_none(line, minimum.position, minimum.value);
}

LineMinimum InterpolatedLineSearch::minimize(LevelObjective& objective, const Line& line, double tolerance) {
    constexpr int attempts = 6;
    constexpr double growth = 4.0;
    constexpr double longest = 16.0; // parameters span about ±12
    const DoseAlongLine::Start start(objective.state(), objective.prescription().biology());
    double length = std::min(2.0 * line.first_step, longest);
    for (int attempt = 0; attempt < attempts; ++attempt) {
        DoseAlongLine doses(objective, line, start, length);
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
            length = minimum.position;
        }
    }
    return reference_.minimize(objective, line, tolerance);
}

std::unique_ptr<LineSearch> make_line_search(LineSearchMethod method) {
    if (method == LineSearchMethod::brent) {
        return std::make_unique<BrentLineSearch>();
    }
    return std::make_unique<InterpolatedLineSearch>();
}

} // namespace brimstone
