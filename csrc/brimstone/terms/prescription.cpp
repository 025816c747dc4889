#include "brimstone/terms/prescription.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "brimstone/support/parallel.hpp"
#include "brimstone/support/vector_math.hpp"

namespace brimstone {

namespace {

void add(const std::vector<double>& base, double* to) {
    for (std::size_t j = 0; j < base.size(); ++j) {
        to[j] += base[j];
    }
}

bool any_negative(const std::vector<double>& values) {
    return std::any_of(values.begin(), values.end(), [](double value) { return value < 0.0; });
}

/// Turns derivatives with respect to clamped doses into those with respect to doses before that.
void chain_through_clamp(const PlanState& state, std::size_t begin, std::size_t end, double* along_dose,
                         double* along_wide) {
    const double* const dose = state.unclamped.data();
    const double* const wide_dose = dose + state.voxels();
    for (std::size_t j = begin; j < end; ++j) {
        double& of_dose = along_dose[j - begin];
        double& of_wide = along_wide[j - begin];
        if (!(dose[j] > 0.0)) {
            of_dose = of_wide = 0.0;
        } else if (wide_dose[j] > dose[j]) {
            of_dose += of_wide;
            of_wide = 0.0;
        }
    }
}

} // namespace

Prescription::Prescription(std::shared_ptr<const DoseMatrix> matrix, std::vector<std::unique_ptr<Term>> terms,
                           std::vector<Channel> channels, std::vector<TermPlace> places,
                           std::vector<ScenarioRisk> groups,
                           std::shared_ptr<const std::vector<double>> base_dose,
                           std::shared_ptr<const Biology> biology, double offset, Precision precision,
                           int threads)
    : matrix_(std::move(matrix)), terms_(std::move(terms)),
      grouped_{{}, std::move(places), std::move(groups)}, channels_(std::move(channels)),
      base_dose_(std::move(base_dose)), biology_(std::move(biology)), offset_(offset),
      clamps_(any_negative(*base_dose_)), precision_(precision), threads_(threads) {
    for (const auto& term : terms_) {
        grouped_.terms.push_back(term.get());
    }
    for (const Channel channel : channels_) {
        const bool known =
            std::find(further_channels_.begin(), further_channels_.end(), channel) != further_channels_.end();
        if (channel != Channel::dose && !known) {
            further_channels_.push_back(channel);
        }
    }
}

void Prescription::compute_dose(const std::vector<double>& weight, const std::vector<double>& wide_share,
                                PlanState& state) const {
    std::vector<double> pair(2 * weight.size());
    for (std::size_t i = 0; i < weight.size(); ++i) {
        pair[2 * i] = weight[i];
        pair[2 * i + 1] = weight[i] * wide_share[i];
    }
    const std::size_t voxels = matrix_->rows();
    state.resize(voxels);
    matrix_->multiply(pair.data(), 2, state.data(), precision_, threads_);
    add(*base_dose_, state.dose());
    if (clamps_) {
        clamp(state);
    }
    state.find_maximum(threads_);
    if (biology_) {
        state.biology.resize(voxels, *biology_);
        for (std::size_t m = 0; m < Biology::n_matrices; ++m) {
            if (const auto& [matrix, base] = biology_->further[m]; matrix) {
                matrix->multiply(weight.data(), 1, state.biology.product(m), precision_, threads_);
                add(base, state.biology.product(m));
            }
        }
        update(state);
    }
}

void Prescription::clamp(PlanState& state) const {
    constexpr std::size_t voxels_per_piece = 4096;
    const std::size_t voxels = state.voxels();
    state.unclamped.resize(2 * voxels);
    parallel_pieces(voxels, voxels_per_piece, threads_, [&](std::size_t, std::size_t begin, std::size_t end) {
        for (std::size_t j = begin; j < end; ++j) {
            double& dose = state.dose()[j];
            double& wide_dose = state.wide_dose()[j];
            state.unclamped[j] = dose;
            state.unclamped[voxels + j] = wide_dose;
            dose = dose < 0.0 ? 0.0 : dose;
            wide_dose = wide_dose > dose ? dose : wide_dose;
        }
    });
}

void Prescription::update(PlanState& state) const {
    state.biology.update(*biology_, further_channels_, state, threads_);
}

TermSum Prescription::sum(const PlanState& state, bool with_residual) const {
    std::vector<const DoseState*> states;
    for (const Channel channel : channels_) {
        states.push_back(channel == Channel::dose ? &state : &state.biology.of(channel));
    }
    return TermSum(grouped_, std::move(states), with_residual, threads_);
}

double Prescription::cost(const PlanState& state) const {
    return offset_ + sum(state, false).value();
}

double Prescription::cost_and_gradient(const PlanState& state, const std::vector<double>& weight,
                                       const std::vector<double>& wide_share,
                                       const std::vector<double>& wide_slope,
                                       std::vector<double>& gradient) const {
    const TermSum sum = this->sum(state, true);
    std::vector<double> pair(2 * weight.size());
    std::vector<double> rest; // of other matrices
    // Block by block, a residual is used as soon as it is known, and never written to memory.
    const auto multiply = [&](Precision precision) {
        if (biology_) {
            rest = multiply_biology(sum, state, pair, precision);
            return;
        }
        matrix_->multiply_transposed(
            [&](std::size_t begin, std::size_t end, double* const* rows) {
                sum.residual(state, {begin, rows[0], rows[1]}, end);
                if (clamps_) {
                    chain_through_clamp(state, begin, end, rows[0], rows[1]);
                }
            },
            2, pair.data(), precision, threads_);
    };
    multiply(precision_);
    if (precision_ == Precision::fast && !(all_finite(pair) && all_finite(rest))) {
        multiply(Precision::reference); // steep terms need more than single precision's range
    }
    gradient.resize(weight.size());
    for (std::size_t i = 0; i < weight.size(); ++i) {
        gradient[i] = pair[2 * i] + (wide_share[i] + weight[i] * wide_slope[i]) * pair[2 * i + 1];
        gradient[i] += rest.empty() ? 0.0 : rest[i];
    }
    return offset_ + sum.value();
}

/// Writes the products of the dose matrix, and returns the sum of those of the other matrices.
std::vector<double> Prescription::multiply_biology(const TermSum& sum, const PlanState& state,
                                                   std::vector<double>& pair, Precision precision) const {
    const std::size_t voxels = state.voxels();
    std::vector<double> along_dose(voxels);
    std::vector<double> along_wide(voxels);
    std::array<std::vector<double>, Biology::n_matrices> along;
    for (std::size_t m = 0; m < Biology::n_matrices; ++m) {
        along[m].resize(biology_->further[m].matrix ? voxels : 0, 0.0);
    }
    constexpr std::size_t voxels_per_piece = DoseState::block;
    parallel_pieces(voxels, voxels_per_piece, threads_, [&](std::size_t, std::size_t begin, std::size_t end) {
        std::vector<double> own(2 * (end - begin));
        const Residual by_channel{begin, own.data(), own.data() + (end - begin)};
        BiologicalResidual residual{along_dose.data() + begin, along_wide.data() + begin, {}};
        for (std::size_t m = 0; m < Biology::n_matrices; ++m) {
            residual.product[m] = along[m].empty() ? nullptr : along[m].data() + begin;
        }
        sum.residual(state, {begin, residual.dose, residual.wide_dose}, end);
        for (const Channel channel : further_channels_) {
            sum.residual(state.biology.of(channel), by_channel, end);
            add_chain(channel, *biology_, state, state.biology, begin, end, by_channel, residual);
        }
    });
    matrix_->multiply_transposed(
        [&](std::size_t begin, std::size_t end, double* const* rows) {
            std::copy(along_dose.data() + begin, along_dose.data() + end, rows[0]);
            std::copy(along_wide.data() + begin, along_wide.data() + end, rows[1]);
        },
        2, pair.data(), precision, threads_);
    std::vector<double> result(matrix_->columns(), 0.0);
    std::vector<double> product(matrix_->columns());
    for (std::size_t m = 0; m < Biology::n_matrices; ++m) {
        if (!along[m].empty()) {
            biology_->further[m].matrix->multiply_transposed(
                [&](std::size_t begin, std::size_t end, double* const* rows) {
                    std::copy(along[m].data() + begin, along[m].data() + end, rows[0]);
                },
                1, product.data(), precision, threads_);
            add(product, result.data());
        }
    }
    return result;
}

} // namespace brimstone
