#pragma once

#include "dose/beam.hpp"
#include "dose/kernel_tables.hpp"
#include "dose/monitor.hpp"
#include "dose/patient.hpp"
#include "dose/settings.hpp"
#include "dose/sparse_columns.hpp"

namespace brimstone::dose {

/// Doses of a beam's beamlets per MU and fraction.
///
/// Each voxel's rays are traced once for all beamlets near it: what the kernel gives it from every step is
/// multiplied with the TERMA of each beamlet there. Besides the result, a few arrays of the grid's size are
/// held.
///
/// @throws std::invalid_argument  if something given cannot be
/// @throws Canceled               if `report` said so
SparseColumns compute_beamlets(const Patient& patient, const KernelTables& tables, const Beam& beam,
                               const Beamlets& beamlets, const Settings& settings,
                               const Monitor::Report& report, int threads);

/// What a beam's beamlets will need, from the lengths of their axes inside the patient.
struct BeamletEstimate {
    double entries; ///< at most, about: doses below the cutoff are among them
    double bytes;   ///< of the result, which holds 8 for each entry, and of the work
};
BeamletEstimate estimate_beamlets(const Patient& patient, const Beam& beam, const Beamlets& beamlets,
                                  const Settings& settings);

} // namespace brimstone::dose
