#include "dose/row_layout.hpp"

#include <cmath>
#include <limits>

namespace brimstone::dose {

RowLayout RowLayout::along(const Grid& grid, const Vec3& direction) {
    constexpr double steepest = 2.5;      // longer steps leave too few voxels in a row
    constexpr double worth_a_slope = 0.1; // of a voxel; rows across the grid's corners are short
    RowLayout best{};
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t a = 0; a < 3; ++a) {
        RowLayout layout{};
        double cost = 0.0;
        for (std::size_t which = 0; which < 2; ++which) {
            const std::size_t across = (a + 1 + which) % 3;
            const double moved = direction[across] / grid.spacing[across];
            const double along = direction[a] / grid.spacing[a];
            const double ratio = std::fabs(moved) < steepest * std::fabs(along) ? moved / along : steepest;
            layout.slope[which] = static_cast<int>(std::lround(std::fabs(ratio) < steepest ? ratio : 0.0));
            cost += std::fabs(ratio - layout.slope[which]) + worth_a_slope * std::abs(layout.slope[which]);
            layout.axis[which + 1] = across;
        }
        layout.axis[0] = a;
        if (cost < least) {
            least = cost;
            best = layout;
        }
    }
    for (std::size_t i = 0; i < 3; ++i) {
        best.count[i] = grid.shape[best.axis[i]];
    }
    return best;
}

RowLayout RowLayout::straight(const Grid& grid, const Vec3& direction) {
    RowLayout layout{};
    std::size_t a = 0;
    for (std::size_t other = 1; other < 3; ++other) {
        a = std::fabs(direction[other]) > std::fabs(direction[a]) ? other : a;
    }
    for (std::size_t i = 0; i < 3; ++i) {
        layout.axis[i] = (a + i) % 3;
        layout.count[i] = grid.shape[layout.axis[i]];
    }
    return layout;
}

} // namespace brimstone::dose
