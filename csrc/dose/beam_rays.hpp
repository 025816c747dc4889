#pragma once

#include <functional>

#include "dose/beam.hpp"
#include "dose/density_rows.hpp"
#include "dose/patient.hpp"
#include "dose/poly_kernel.hpp"
#include "dose/row_layout.hpp"
#include "dose/settings.hpp"
#include "dose/stencil.hpp"

namespace brimstone::dose {

/// What all rays of a beam share: their directions, the densities in rows along the beam, the kernel.
struct BeamRays {
    BeamRays(const Patient& patient, const KernelTables& tables, const Beam& beam, const RowLayout& rows,
             const Settings& settings, const std::function<double(const Vec3&)>& length_mm)
        : layout(rows), kernel(tables, settings),
          stencil(patient.grid(), layout, beam, kernel, settings, length_mm),
          density(patient, layout, stencil.reach() + 4 * lanes),
          scale(static_cast<float>(cm_per_mm * stencil.step_mm() / kernel.cell_width_cm())),
          place(static_cast<float>(settings.kernel_place)) {}

    static constexpr double cm_per_mm = 0.1;

    RowLayout layout;
    PolyKernel kernel;
    Stencil stencil;
    DensityRows density;
    float scale; ///< from density to a step's length in cells of the kernel
    float place;
};

} // namespace brimstone::dose
