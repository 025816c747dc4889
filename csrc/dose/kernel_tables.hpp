#pragma once

#include <cstddef>
#include <vector>

namespace brimstone::dose {

/// Energy deposition kernels of single energies in water and a spectrum, as OpenTPS's kernel folders have
/// them.
struct KernelTables {
    std::vector<double> radii;    ///< upper bounds, cm
    std::vector<double> angles;   ///< upper bounds, degrees
    std::vector<double> energies; ///< MeV
    std::vector<double> fluence;  ///< of each energy
    std::vector<double> mu;       ///< attenuation, cm²/g
    std::vector<double> mu_en;    ///< energy absorption, cm²/g
    std::vector<double> kernel;   ///< share of the energy in each [energy][angle][radius]
};

/// @throws std::invalid_argument  if tables do not fit together or have values that cannot be
void check(const KernelTables& tables);

} // namespace brimstone::dose
