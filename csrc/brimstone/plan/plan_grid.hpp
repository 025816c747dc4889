#pragma once

#include <memory>
#include <vector>

#include "brimstone/matrix/dose_matrix.hpp"
#include "brimstone/plan/coarsening.hpp"
#include "brimstone/terms/fluence_roughness.hpp"
#include "brimstone/terms/voxel_shares.hpp"

namespace brimstone {

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

} // namespace brimstone
