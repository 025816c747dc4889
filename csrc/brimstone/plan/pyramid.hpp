#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "brimstone/matrix/dose_matrix.hpp"
#include "brimstone/terms/fluence_roughness.hpp"
#include "brimstone/terms/term.hpp"

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

/// A plan on one grid: grid 0 is the finest.
struct PlanGrid {
    std::shared_ptr<const DoseMatrix> matrix;
    std::vector<SharedShares> structures;
    std::shared_ptr<const std::vector<double>> base_dose; ///< Gy per voxel, or empty
    Coarsening from_finer;                                ///< unused on the finest grid
    std::shared_ptr<const FluenceRoughness> roughness;    ///< or null
};

/// D_coarse = R D P, with the structures' shares summed and the base dose averaged over each block.
PlanGrid coarsen(const PlanGrid& finer, Coarsening coarsening, int threads);

/// The inverse filter: weights of the finer grid that give the same dose, w = P w_coarse.
std::vector<double> interpolate_weights(const Coarsening& coarsening, const std::vector<double>& coarse);

/// Weights of a coarser grid that come closest to the finer ones, node by node: the mean of the finer weights
/// around a node, weighted by their share of it.
std::vector<double> average_weights(const Coarsening& coarsening, const std::vector<double>& finer);

} // namespace brimstone
