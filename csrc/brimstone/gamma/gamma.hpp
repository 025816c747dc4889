#pragma once

#include <array>
#include <cstddef>
#include <vector>

namespace brimstone {

/// A dose at the nodes of a regular grid, in C order of [x, y, z]; between them it is trilinear.
struct DoseGrid {
    std::array<std::size_t, 3> shape;
    std::array<double, 3> spacing; ///< mm
    std::array<double, 3> origin;  ///< mm
    const double* dose;            ///< Gy
};

struct GammaCriteria {
    double dose;      ///< Gy, or a share of the reference dose of each voxel where `local`
    double distance;  ///< mm
    double threshold; ///< Gy: voxels with less in the reference are not judged
    bool local;
    double highest; ///< the search ends at this gamma
};

/// Gamma of every voxel of a reference dose (D. A. Low et al., Med. Phys. 25, 1998): the distance from its
/// point to the surface of the evaluated dose, in units of the criteria. NaN below the threshold.
///
/// The surface is not sampled: cells between the nodes of the evaluation are visited from the nearest to the
/// farthest, as long as their distance and the range of their doses could give a lower gamma, and the minimum
/// within a cell is computed from its interpolation.
std::vector<double> gamma(const DoseGrid& reference, const DoseGrid& evaluation,
                          const GammaCriteria& criteria, int threads);

} // namespace brimstone
