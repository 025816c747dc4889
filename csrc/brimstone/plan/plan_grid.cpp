#include "brimstone/plan/plan_grid.hpp"

#include <map>
#include <stdexcept>
#include <string>
#include <utility>

#include "brimstone/plan/coarse_matrix.hpp"

namespace brimstone {

namespace {

SharedShares sum_shares(const VoxelShares& finer, const Coarsening& coarsening) {
    std::vector<double> sum(coarsening.n_voxels, 0.0);
    for (std::size_t i = 0; i < finer.voxel.size(); ++i) {
        const std::uint32_t voxel = coarsening.voxel[finer.voxel[i]];
        if (voxel == Coarsening::none) {
            throw std::invalid_argument("row " + std::to_string(finer.voxel[i]) +
                                        " has a share of a structure, but no voxel on the coarser grid");
        }
        sum[voxel] += finer.share[i];
    }
    std::vector<std::uint32_t> coarse_voxel;
    std::vector<double> share;
    for (std::size_t j = 0; j < sum.size(); ++j) {
        if (sum[j] > 0.0) {
            coarse_voxel.push_back(static_cast<std::uint32_t>(j));
            share.push_back(sum[j]);
        }
    }
    return std::make_shared<const VoxelShares>(std::move(coarse_voxel), std::move(share));
}

/// Means of what rows have over the rows that are averaged in each voxel; nothing of nothing.
std::vector<double> block_means(const std::vector<double>& finer, const Coarsening& coarsening) {
    std::vector<double> mean;
    if (finer.empty()) {
        return mean;
    }
    const std::vector<double> block_weight = block_weights(coarsening);
    mean.assign(coarsening.n_voxels, 0.0);
    for (std::size_t j = 0; j < finer.size(); ++j) {
        const std::uint32_t voxel = coarsening.voxel[j];
        if (voxel != Coarsening::none) {
            mean[voxel] += finer[j] * block_weight[voxel];
        }
    }
    return mean;
}

Biology coarsen_biology(const Biology& finer, const Coarsening& coarsening, int threads) {
    Biology result;
    for (std::size_t m = 0; m < Biology::n_matrices; ++m) {
        const FurtherMatrix& fine = finer.further[m];
        if (fine.matrix) {
            result.further[m] = {coarsen_matrix(*fine.matrix, coarsening, threads),
                                 block_means(fine.base, coarsening)};
        }
    }
    result.alpha_x = block_means(finer.alpha_x, coarsening);
    result.beta_x = block_means(finer.beta_x, coarsening);
    return result;
}

} // namespace

PlanGrid coarsen(const PlanGrid& finer, Coarsening coarsening, std::shared_ptr<const DoseMatrix> known,
                 int threads) {
    PlanGrid result;
    result.matrix = known ? std::move(known) : coarsen_matrix(*finer.matrix, coarsening, threads);
    // Structures keep their shares for all of their quantities.
    std::map<const VoxelShares*, SharedShares> summed;
    for (const auto& [shares, map, channel] : finer.quantities) {
        SharedShares& coarse = summed[shares.get()];
        if (!coarse) {
            coarse = sum_shares(*shares, coarsening);
        }
        result.quantities.push_back(
            {coarse, map ? map->coarser(*shares, coarsening.voxel, *coarse) : nullptr, channel});
    }
    auto base_dose = std::make_shared<std::vector<double>>(block_means(*finer.base_dose, coarsening));
    if (finer.biology) {
        result.biology =
            std::make_shared<const Biology>(coarsen_biology(*finer.biology, coarsening, threads));
    }
    result.base_dose = std::move(base_dose);
    result.from_finer = std::move(coarsening);
    return result;
}

} // namespace brimstone
