#include "dose/grid.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

namespace brimstone::dose {

double Grid::farthest_corner(const Vec3& from) const {
    Vec3 farthest;
    for (std::size_t a = 0; a < 3; ++a) {
        const double low = origin[a] - 0.5 * spacing[a];
        const double high = origin[a] + (shape[a] - 0.5) * spacing[a];
        farthest[a] = std::max(std::fabs(from[a] - low), std::fabs(from[a] - high));
    }
    return length(farthest);
}

void check(const Grid& grid) {
    constexpr double largest_mm = 1e4;
    constexpr double smallest_mm = 1e-2;
    double voxels = 1.0;
    for (std::size_t a = 0; a < 3; ++a) {
        const std::string axis(1, "xyz"[a]);
        if (grid.shape[a] < 2) {
            throw std::invalid_argument("the grid has " + std::to_string(grid.shape[a]) + " voxels along " +
                                        axis + "; it needs 2 or more");
        }
        if (!(grid.spacing[a] >= smallest_mm && grid.spacing[a] * grid.shape[a] <= largest_mm)) {
            throw std::invalid_argument("the voxel size along " + axis + " is " +
                                        std::to_string(grid.spacing[a]) +
                                        " mm; it must be 0.01 mm or more, and the grid 10 m long at most");
        }
        if (!(std::fabs(grid.origin[a]) <= 1e6)) {
            throw std::invalid_argument("the grid's origin along " + axis + " is " +
                                        std::to_string(grid.origin[a]) + " mm; it must be within 1 km of 0");
        }
        voxels *= grid.shape[a];
    }
    if (voxels > static_cast<double>(std::numeric_limits<std::int32_t>::max())) {
        throw std::invalid_argument("the grid has " + std::to_string(voxels) +
                                    " voxels; the matrix's rows count to 2147483647 at most");
    }
}

} // namespace brimstone::dose
