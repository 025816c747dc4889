#pragma once

#include <cstddef>

#include "dose/vec3.hpp"

namespace brimstone::dose {

/// A grid of voxels along the axes of the image, in C order; lengths in mm.
struct Grid {
    Index3 shape;
    Vec3 spacing;
    Vec3 origin; ///< center of voxel (0, 0, 0)

    std::size_t voxels() const {
        return static_cast<std::size_t>(shape[0]) * static_cast<std::size_t>(shape[1]) *
               static_cast<std::size_t>(shape[2]);
    }
    std::size_t number(const Index3& voxel) const {
        return (static_cast<std::size_t>(voxel[0]) * static_cast<std::size_t>(shape[1]) +
                static_cast<std::size_t>(voxel[1])) *
                   static_cast<std::size_t>(shape[2]) +
               static_cast<std::size_t>(voxel[2]);
    }
    /// Distance of neighbors along each axis in C order.
    std::array<std::ptrdiff_t, 3> strides() const {
        return {static_cast<std::ptrdiff_t>(shape[1]) * shape[2], shape[2], 1};
    }
    Vec3 center(const Index3& voxel) const {
        return {origin[0] + voxel[0] * spacing[0], origin[1] + voxel[1] * spacing[1],
                origin[2] + voxel[2] * spacing[2]};
    }
    double smallest_edge() const { return std::fmin(spacing[0], std::fmin(spacing[1], spacing[2])); }
    double voxel_volume() const { return spacing[0] * spacing[1] * spacing[2]; }
    double diagonal() const {
        return length({shape[0] * spacing[0], shape[1] * spacing[1], shape[2] * spacing[2]});
    }
    /// Distance from a point to the farthest corner of the grid.
    double farthest_corner(const Vec3& from) const;
};

/// @throws std::invalid_argument  if there are no voxels, too many, or lengths that are not lengths
void check(const Grid& grid);

} // namespace brimstone::dose
