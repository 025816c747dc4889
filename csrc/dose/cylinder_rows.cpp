#include "dose/cylinder_rows.hpp"

#include <algorithm>
#include <cmath>

namespace brimstone::dose {

CylinderRows::CylinderRows(const Grid& grid, const RowLayout& layout, const Cylinder& cylinder) {
    // Where the axis passes the first and the last lane, and how far the cylinder reaches around it in rows.
    const std::size_t along = layout.axis[0];
    const int last_lane = layout.count[0] - 1;
    for (std::size_t which = 0; which < 2; ++which) {
        const std::size_t across = layout.axis[which + 1];
        const double drift = cylinder.axis()[across] / cylinder.axis()[along];
        double low = 1e9;
        double high = -1e9;
        for (const int lane : {0, last_lane}) {
            const double moved = grid.origin[along] + lane * grid.spacing[along] - cylinder.source()[along];
            const double at = cylinder.source()[across] + moved * drift;
            const double row = (at - grid.origin[across]) / grid.spacing[across] -
                               static_cast<double>(layout.slope[which] * lane);
            low = std::min(low, row);
            high = std::max(high, row);
        }
        const double reach = cylinder.radius() * std::sqrt(1.0 + drift * drift) / grid.spacing[across] + 1.0;
        const double first = std::fmax(low - reach, layout.first_row(which));
        const double last = std::fmin(high + reach, layout.end_row(which) - 1);
        first_[which] = static_cast<int>(std::floor(first));
        count_[which] = std::max(0, static_cast<int>(std::ceil(last)) - first_[which] + 1);
    }
    range_.reserve(static_cast<std::size_t>(count_[0]) * static_cast<std::size_t>(count_[1]));
    for (int j = 0; j < count_[1]; ++j) {
        for (int i = 0; i < count_[0]; ++i) {
            const RowLayout::Place start{{first_[0] + i, first_[1] + j}, 0};
            const RowLayout::Place next{{first_[0] + i, first_[1] + j}, 1};
            const Vec3 from = grid.center(layout.voxel(start));
            const auto [enters, leaves] = cylinder.part_of_line(from, grid.center(layout.voxel(next)) - from);
            if (!(enters <= leaves)) {
                range_.push_back({0, 0});
                continue;
            }
            const double begin = std::ceil(std::fmax(enters, 0.0));
            const double end = std::floor(std::fmin(leaves, last_lane)) + 1.0;
            range_.push_back({static_cast<std::int32_t>(std::fmin(begin, last_lane + 1.0)),
                              static_cast<std::int32_t>(std::fmax(end, 0.0))});
        }
    }
}

} // namespace brimstone::dose
