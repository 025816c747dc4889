#pragma once

#include <vector>

#include "dose/beam.hpp"
#include "dose/patient.hpp"
#include "dose/row_layout.hpp"

namespace brimstone::dose {

/// Radiological depth of a voxel's center, cm of water.
double center_depth(const Patient& patient, const Vec3& source, const Index3& voxel);

/// Depths as OpenTPS's program gives them to the voxels of one beamlet, which come in its order: rays go
/// through the centers of those that have no depth yet and give one to all they pass nearly centrally, that
/// of the middle of the part inside the voxel; parts shorter than 0.1 mm do not count.
std::vector<float> first_ray_depths(const Patient& patient, const Vec3& source, const RowLayout& layout,
                                    const std::vector<Index3>& voxels);

} // namespace brimstone::dose
