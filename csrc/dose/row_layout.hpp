#pragma once

#include <cstdint>

#include "dose/grid.hpp"

namespace brimstone::dose {

/// The voxels in rows nearly along a direction, so that what happens along it happens in neighbors.
///
/// A lane is a place along one axis of the image. Along a row, the place along each of the two other axes
/// moves by a whole number of voxels from lane to lane. Rows are numbered by where they meet lane 0. So every
/// step between voxels of the grid is a constant step in rows and lanes.
struct RowLayout {
    std::size_t axis[3]; ///< along which lanes count, then the two along which rows do
    int slope[2];
    Index3 count; ///< of voxels, along `axis`

    static RowLayout along(const Grid& grid, const Vec3& direction);
    /// Rows along the axis of the image that a direction is nearest to.
    static RowLayout straight(const Grid& grid, const Vec3& direction);

    struct Place {
        int row[2];
        int lane;
    };
    Place place(const Index3& voxel) const {
        const int lane = voxel[axis[0]];
        return {{voxel[axis[1]] - slope[0] * lane, voxel[axis[2]] - slope[1] * lane}, lane};
    }
    Index3 voxel(const Place& at) const {
        Index3 result;
        result[axis[0]] = at.lane;
        result[axis[1]] = at.row[0] + slope[0] * at.lane;
        result[axis[2]] = at.row[1] + slope[1] * at.lane;
        return result;
    }
    /// First row that has voxels, and one past the last, along one of the two axes.
    int first_row(std::size_t which) const { return slope[which] > 0 ? -slope[which] * (count[0] - 1) : 0; }
    int end_row(std::size_t which) const {
        return count[which + 1] + (slope[which] < 0 ? -slope[which] * (count[0] - 1) : 0);
    }
};

} // namespace brimstone::dose
