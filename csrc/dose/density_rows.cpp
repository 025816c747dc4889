#include "dose/density_rows.hpp"

#include <algorithm>

namespace brimstone::dose {

DensityRows::DensityRows(const Patient& patient, const RowLayout& layout, std::size_t reach)
    : rows_{static_cast<std::size_t>(layout.count[1]) + 1, static_cast<std::size_t>(layout.count[2]) + 1},
      lanes_(static_cast<std::size_t>(layout.count[0]) + 1), margin_(reach) {
    shift_[0] = -1;
    shift_[1] = -1;
    value_.assign(rows_[0] * rows_[1] * lanes_ + 2 * margin_, 0.0F);
    const Grid& grid = patient.grid();
    for (int second = -1; second < layout.count[2]; ++second) {
        for (int lane = -1; lane < layout.count[0]; ++lane) {
            for (int first = -1; first < layout.count[1]; ++first) {
                Index3 voxel;
                voxel[layout.axis[0]] = std::max(lane, 0);
                voxel[layout.axis[1]] = std::max(first, 0);
                voxel[layout.axis[2]] = std::max(second, 0);
                const float* const target =
                    row(first - layout.slope[0] * lane, second - layout.slope[1] * lane);
                value_[static_cast<std::size_t>(target + lane - value_.data())] =
                    patient.density()[grid.number(voxel)];
            }
        }
    }
}

} // namespace brimstone::dose
