#pragma once

#include <memory>

#include "brimstone/matrix/dose_matrix.hpp"
#include "brimstone/plan/coarsening.hpp"

namespace brimstone {

/// R D P, where R averages blocks of rows and P interpolates between beamlets.
std::shared_ptr<const DoseMatrix> coarsen_matrix(const DoseMatrix& finer, const Coarsening& coarsening,
                                                 int threads);

} // namespace brimstone
