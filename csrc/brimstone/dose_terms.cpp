#include "brimstone/dose_terms.hpp"

#include <algorithm>
#include <utility>

#include "brimstone/parallel.hpp"

namespace brimstone {

namespace {

/// Σ of `part(i)` over a structure's voxels, in a fixed order.
template <class Part>
double sum_over(const VoxelShares& shares, int threads, const Part& part) {
    constexpr std::size_t voxels_per_piece = 8192;
    const std::size_t voxels = shares.voxel.size();
    std::vector<double> partial((voxels + voxels_per_piece - 1) / voxels_per_piece, 0.0);
    parallel_pieces(voxels, voxels_per_piece, threads,
                    [&](std::size_t piece, std::size_t begin, std::size_t end) {
                        // Two sums, so that an addition need not wait for the one before.
                        double even = 0.0;
                        double odd = 0.0;
                        std::size_t i = begin;
                        for (; i + 1 < end; i += 2) {
                            even += part(i);
                            odd += part(i + 1);
                        }
                        partial[piece] = even + odd + (i < end ? part(i) : 0.0);
                    });
    double sum = 0.0;
    for (const double part_sum : partial) {
        sum += part_sum;
    }
    return sum;
}

} // namespace

DoseLimitTerm::DoseLimitTerm(VoxelShares shares, Side side, double limit, double weight,
                             double reference_dose)
    : shares_(std::move(shares)), sign_(side == Side::maximum ? 1.0 : -1.0), limit_(limit), weight_(weight),
      reference_dose_(reference_dose) {}

double DoseLimitTerm::sum(const DoseState& state, double* slope, int threads) const {
    return sum_over(shares_, threads, [&](std::size_t i) {
        const std::size_t voxel = shares_.voxel[i];
        const double beyond = sign_ * (state.dose()[voxel] - limit_);
        if (beyond <= 0.0) {
            return 0.0;
        }
        const double excess = beyond / reference_dose_;
        if (slope != nullptr) {
            slope[voxel] += weight_ * (sign_ * 2.0 * shares_.share[i] * excess / reference_dose_);
        }
        return shares_.share[i] * excess * excess;
    });
}

double DoseLimitTerm::cost(const DoseState& state, int threads) const {
    return weight_ * sum(state, nullptr, threads);
}

double DoseLimitTerm::cost_and_residual(const DoseState& state, Residual& residual, int threads) const {
    return weight_ * sum(state, residual.dose(), threads);
}

MeanDoseTerm::MeanDoseTerm(VoxelShares shares, double limit, double weight, double reference_dose)
    : shares_(std::move(shares)), limit_(limit), weight_(weight), reference_dose_(reference_dose) {}

double MeanDoseTerm::relative_excess(const DoseState& state, int threads) const {
    const double mean = sum_over(
        shares_, threads, [&](std::size_t i) { return shares_.share[i] * state.dose()[shares_.voxel[i]]; });
    return std::max(0.0, mean - limit_) / reference_dose_;
}

double MeanDoseTerm::cost(const DoseState& state, int threads) const {
    const double excess = relative_excess(state, threads);
    return weight_ * excess * excess;
}

double MeanDoseTerm::cost_and_residual(const DoseState& state, Residual& residual, int threads) const {
    const double excess = relative_excess(state, threads);
    const double slope = 2.0 * weight_ * excess / reference_dose_;
    if (slope > 0.0) {
        for (std::size_t i = 0; i < shares_.voxel.size(); ++i) {
            residual.dose()[shares_.voxel[i]] += slope * shares_.share[i];
        }
    }
    return weight_ * excess * excess;
}

FunctionTerm::FunctionTerm(VoxelShares shares, Function function, double weight)
    : shares_(std::move(shares)), function_(std::move(function)), weight_(weight) {}

std::vector<double> FunctionTerm::doses(const DoseState& state) const {
    std::vector<double> dose(shares_.voxel.size());
    for (std::size_t i = 0; i < dose.size(); ++i) {
        dose[i] = state.dose()[shares_.voxel[i]];
    }
    return dose;
}

double FunctionTerm::cost(const DoseState& state, int) const {
    return weight_ * function_(doses(state), shares_.share, nullptr);
}

double FunctionTerm::cost_and_residual(const DoseState& state, Residual& residual, int) const {
    std::vector<double> gradient(shares_.voxel.size(), 0.0);
    const double value = function_(doses(state), shares_.share, gradient.data());
    for (std::size_t i = 0; i < gradient.size(); ++i) {
        residual.dose()[shares_.voxel[i]] += weight_ * gradient[i];
    }
    return weight_ * value;
}

} // namespace brimstone
