#pragma once

#include <cstdint>
#include <vector>

#include "dose/beam.hpp"

namespace brimstone::dose {

/// Beamlets that are computed together, as they share the rays of the voxels near them: those in one square
/// of the beam's eye view. Squares are large, so that few voxels are near two of them, and not larger, so
/// that what is held for one is bounded.
std::vector<std::vector<std::uint32_t>> group_beamlets(const Beamlets& beamlets);

} // namespace brimstone::dose
