#pragma once

#include <vector>

#include "brimstone/support/buffer.hpp"
#include "dose/cylinder_rows.hpp"
#include "dose/fluence_map.hpp"
#include "dose/monitor.hpp"
#include "dose/patient.hpp"
#include "dose/poly_kernel.hpp"
#include "dose/row_layout.hpp"

namespace brimstone::dose {

/// The TERMA of a whole field in the rows of a layout without slopes, with zeros around the grid.
class FieldTerma {
public:
    FieldTerma(const Patient& patient, const RowLayout& layout, const Beam& beam, const FluenceMap& map,
               const TermaCurve& curve, Monitor& monitor, int threads);

    /// Lanes of positions of a row whose cells have TERMA at a corner. Rows may be anywhere.
    LaneRange positions(int first, int second) const {
        const int i = first + 1;
        const int j = second + 1;
        if (i < 0 || i >= rows_[0] - 1 || j < 0 || j >= rows_[1] - 1) {
            return {0, 0};
        }
        return position_[static_cast<std::size_t>(j * (rows_[0] - 1) + i)];
    }
    /// Where a row is at lane 0, for rows of positions and the ones after them.
    const float* row(int first, int second) const {
        return value_.data() + static_cast<std::size_t>((second + 1) * rows_[0] + first + 1) * stride_ + 1;
    }
    /// Rows of positions that have some, [low, high) along one of the two axes.
    int low(std::size_t which) const { return low_[which]; }
    int high(std::size_t which) const { return high_[which]; }
    bool any() const { return low_[0] < high_[0]; }

private:
    void index_positions();

    int rows_[2];
    std::size_t stride_;
    int low_[2] = {0, 0};
    int high_[2] = {0, 0};
    Buffer<float> value_;
    std::vector<LaneRange> range_;
    std::vector<LaneRange> position_;
};

} // namespace brimstone::dose
