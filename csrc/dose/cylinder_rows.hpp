#pragma once

#include <cstdint>
#include <vector>

#include "dose/cylinder.hpp"
#include "dose/grid.hpp"
#include "dose/row_layout.hpp"

namespace brimstone::dose {

/// Lanes [begin, end).
struct LaneRange {
    std::int32_t begin;
    std::int32_t end;
    bool empty() const { return begin >= end; }
};

/// Which voxels lie in a beamlet's cylinder: lanes of each row.
class CylinderRows {
public:
    CylinderRows(const Grid& grid, const RowLayout& layout, const Cylinder& cylinder);

    LaneRange lanes_of(int first, int second) const {
        const int i = first - first_[0];
        const int j = second - first_[1];
        if (i < 0 || i >= count_[0] || j < 0 || j >= count_[1]) {
            return {0, 0};
        }
        return range_[static_cast<std::size_t>(j * count_[0] + i)];
    }

private:
    int first_[2];
    int count_[2];
    std::vector<LaneRange> range_;
};

} // namespace brimstone::dose
