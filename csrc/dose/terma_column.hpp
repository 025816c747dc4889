#pragma once

#include <cstdint>
#include <vector>

#include "dose/kernels/kernels.hpp"
#include "dose/row_layout.hpp"

namespace brimstone::dose {

/// The TERMA of one beamlet in the rows of a layout, made to be read in whole lanes between any voxels near
/// it.
class TermaColumn {
public:
    /// Positions in a row whose cells have TERMA at a corner.
    struct PositionRow {
        int row[2];
        std::int32_t begin;
        std::int32_t end;
    };

    TermaColumn() = default;
    TermaColumn(const RowLayout& layout, const std::vector<RowLayout::Place>& places,
                const std::vector<float>& terma);

    const std::vector<PositionRow>& positions() const { return position_; }
    const float* data() const { return value_.data(); }
    const CornerRows* corner_rows() const { return corner_.data(); }
    std::size_t bytes() const;

private:
    std::vector<PositionRow> position_;
    std::vector<CornerRows> corner_;
    std::vector<float> value_;
};

} // namespace brimstone::dose
