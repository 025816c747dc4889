#include "brimstone/plan/coarsening.hpp"

namespace brimstone {

std::vector<double> block_weights(const Coarsening& coarsening) {
    std::vector<double> weight(coarsening.n_voxels, 0.0);
    for (const std::uint32_t voxel : coarsening.voxel) {
        if (voxel != Coarsening::none) {
            weight[voxel] += 1.0;
        }
    }
    for (double& w : weight) {
        w = w > 0.0 ? 1.0 / w : 0.0;
    }
    return weight;
}

std::vector<double> interpolate_weights(const Coarsening& coarsening, const std::vector<double>& coarse) {
    std::vector<double> finer(coarsening.row_start.size() - 1, 0.0);
    for (std::size_t i = 0; i < finer.size(); ++i) {
        for (auto p = static_cast<std::size_t>(coarsening.row_start[i]);
             p < static_cast<std::size_t>(coarsening.row_start[i + 1]); ++p) {
            finer[i] += coarsening.share[p] * coarse[coarsening.beamlet[p]];
        }
    }
    return finer;
}

std::vector<double> average_weights(const Coarsening& coarsening, const std::vector<double>& finer) {
    std::vector<double> sum(coarsening.n_beamlets, 0.0);
    std::vector<double> share(coarsening.n_beamlets, 0.0);
    for (std::size_t i = 0; i < finer.size(); ++i) {
        for (auto p = static_cast<std::size_t>(coarsening.row_start[i]);
             p < static_cast<std::size_t>(coarsening.row_start[i + 1]); ++p) {
            sum[coarsening.beamlet[p]] += coarsening.share[p] * finer[i];
            share[coarsening.beamlet[p]] += coarsening.share[p];
        }
    }
    for (std::size_t c = 0; c < sum.size(); ++c) {
        sum[c] = share[c] > 0.0 ? sum[c] / share[c] : 0.0;
    }
    return sum;
}

} // namespace brimstone
