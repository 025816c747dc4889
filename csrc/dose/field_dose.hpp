#pragma once

#include <vector>

#include "dose/beam.hpp"
#include "dose/fluence_map.hpp"
#include "dose/kernel_tables.hpp"
#include "dose/monitor.hpp"
#include "dose/patient.hpp"
#include "dose/settings.hpp"

namespace brimstone::dose {

/// Dose of a whole field in one convolution, Gy per fraction in C order of the grid, with scatter from
/// everywhere: of the settings, those of beamlets (reach, cutoff, samples, rule of depths) have no meaning
/// here.
///
/// @throws std::invalid_argument  if something given cannot be
/// @throws Canceled               if `report` said so
std::vector<float> compute_field(const Patient& patient, const KernelTables& tables, const Beam& beam,
                                 const FluenceMap& map, const Settings& settings,
                                 const Monitor::Report& report, int threads);

} // namespace brimstone::dose
