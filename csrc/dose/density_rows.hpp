#pragma once

#include <cstddef>
#include <vector>

#include "dose/patient.hpp"
#include "dose/row_layout.hpp"

namespace brimstone::dose {

/// The densities in the order of a row layout.
///
/// A row that leaves the grid on one side goes on as the one that enters it on the other side, so that the
/// array is no larger than the grid. Below the first voxel along each axis lies a copy of it: a position
/// there counts as the first voxel.
class DensityRows {
public:
    /// @param reach  lanes that may be asked for beyond a row
    DensityRows(const Patient& patient, const RowLayout& layout, std::size_t reach);

    /// Where lane 0 of a row is. Lanes where the row is outside the grid have densities of somewhere else.
    const float* row(int first, int second) const {
        return value_.data() +
               (wrapped(second - shift_[1], rows_[1]) * rows_[0] + wrapped(first - shift_[0], rows_[0])) *
                   lanes_ +
               margin_ + 1;
    }

private:
    static std::size_t wrapped(int place, std::size_t count) {
        const auto n = static_cast<int>(count);
        const int rest = place % n;
        return static_cast<std::size_t>(rest < 0 ? rest + n : rest);
    }

    int shift_[2]; ///< of a row's number to that of the array's first row
    std::size_t rows_[2];
    std::size_t lanes_;
    std::size_t margin_;
    std::vector<float> value_;
};

} // namespace brimstone::dose
