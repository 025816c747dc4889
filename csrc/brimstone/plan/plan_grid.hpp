#pragma once

#include <memory>
#include <vector>

#include "brimstone/matrix/dose_matrix.hpp"
#include "brimstone/plan/coarsening.hpp"
#include "brimstone/terms/dose_map.hpp"
#include "brimstone/terms/fluence_roughness.hpp"

namespace brimstone {

/// A plan on one grid: grid 0 is the finest.
struct PlanGrid {
    std::shared_ptr<const DoseMatrix> matrix;
    std::vector<Quantity> quantities;                     ///< a structure once for each of its quantities
    std::shared_ptr<const std::vector<double>> base_dose; ///< Gy per voxel, or empty
    Coarsening from_finer;                                ///< unused on the finest grid
    std::shared_ptr<const FluenceRoughness> roughness;    ///< or null
    std::shared_ptr<const Biology> biology;               ///< or null: dose alone
};

/// D_coarse = R D P, with the structures' shares summed, their maps averaged with these, and the base dose
/// averaged over each block.
/// @param known  D_coarse, if somebody has it already; or null
PlanGrid coarsen(const PlanGrid& finer, Coarsening coarsening, std::shared_ptr<const DoseMatrix> known,
                 int threads);

} // namespace brimstone
