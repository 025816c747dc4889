#pragma once

#include <functional>

#include "dose/beam.hpp"
#include "dose/density_rows.hpp"
#include "dose/patient.hpp"
#include "dose/poly_kernel.hpp"
#include "dose/row_layout.hpp"
#include "dose/settings.hpp"
#include "dose/stencil.hpp"
#include "dose/voxel_rows.hpp"

namespace brimstone::dose {

/// What all rays of a beam share: their directions, the densities in rows along the beam, the kernel.
struct BeamRays {
    BeamRays(const Patient& patient, const KernelTables& tables, const Beam& beam, const RowLayout& rows,
             const Settings& settings, const std::function<double(const Vec3&)>& length_mm)
        : layout(rows), kernel(tables, settings),
          stencil(patient.grid(), layout, beam, kernel, settings, length_mm),
          density(patient, layout, stencil.reach() + 4 * lanes) {}

    /// Densities that a step of the rays of a row has, from a lane on.
    const float* densities(const VoxelRow& row, const RayStep& step, int lane) const {
        const RayStep::Density& at = step.density;
        return density.row(row.row[0] + at.row[0], row.row[1] + at.row[1]) + (lane + at.lane);
    }

    RowLayout layout;
    PolyKernel kernel;
    Stencil stencil;
    DensityRows density;
};

} // namespace brimstone::dose
