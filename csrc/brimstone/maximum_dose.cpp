#include "brimstone/maximum_dose.hpp"

#include <algorithm>
#include <utility>

#include "brimstone/parallel.hpp"

namespace brimstone {

namespace {
constexpr std::size_t voxels_per_piece = 8192;
}

MaximumDoseTerm::MaximumDoseTerm(VoxelShares shares, double limit, double weight, double reference_dose)
    : shares_(std::move(shares)), limit_(limit), weight_(weight), reference_dose_(reference_dose) {}

double MaximumDoseTerm::cost(const DoseState& state, int threads) const {
    const std::size_t voxels = shares_.voxel.size();
    std::vector<double> partial((voxels + voxels_per_piece - 1) / voxels_per_piece, 0.0);
    parallel_pieces(
        voxels, voxels_per_piece, threads, [&](std::size_t piece, std::size_t begin, std::size_t end) {
            double sum = 0.0;
            for (std::size_t i = begin; i < end; ++i) {
                const double excess = std::max(0.0, state.dose(shares_.voxel[i]) - limit_) / reference_dose_;
                sum += shares_.share[i] * excess * excess;
            }
            partial[piece] = sum;
        });
    double sum = 0.0;
    for (const double part : partial) {
        sum += part;
    }
    return weight_ * sum;
}

double MaximumDoseTerm::cost_and_residual(const DoseState& state, std::vector<double>& residual,
                                          int threads) const {
    parallel_pieces(shares_.voxel.size(), voxels_per_piece, threads,
                    [&](std::size_t, std::size_t begin, std::size_t end) {
                        for (std::size_t i = begin; i < end; ++i) {
                            const std::size_t voxel = shares_.voxel[i];
                            const double excess = std::max(0.0, state.dose(voxel) - limit_) / reference_dose_;
                            residual[2 * voxel] +=
                                2.0 * weight_ * shares_.share[i] * excess / reference_dose_;
                        }
                    });
    return cost(state, threads);
}

} // namespace brimstone
