#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace brimstone {

/// How a grid follows from the next finer one.
struct Coarsening {
    /// For every row of the finer grid its row here; blocks are averaged. Rows that stand for no voxel have
    /// none.
    std::vector<std::uint32_t> voxel;
    static constexpr std::uint32_t none = 0xFFFFFFFF;
    std::size_t n_voxels = 0;
    /// Interpolation P from the beamlets here to the finer ones, in compressed rows (one per finer beamlet).
    std::vector<std::int64_t> row_start;
    std::vector<std::uint32_t> beamlet;
    std::vector<double> share;
    std::size_t n_beamlets = 0;
};

/// For each voxel here one over the finer rows that are averaged in it; 0 for one without any.
std::vector<double> block_weights(const Coarsening& coarsening);

/// The inverse filter: weights of the finer grid that give the same dose, w = P w_coarse.
std::vector<double> interpolate_weights(const Coarsening& coarsening, const std::vector<double>& coarse);

/// Weights of a coarser grid that come closest to the finer ones, node by node: the mean of the finer weights
/// around a node, weighted by their share of it.
std::vector<double> average_weights(const Coarsening& coarsening, const std::vector<double>& finer);

} // namespace brimstone
