#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "dose/row_layout.hpp"

namespace brimstone::dose {

/// Which lanes of which rows some voxels lie in.
class RowIntervals {
public:
    struct Row {
        std::int32_t begin = 0;
        std::int32_t end = 0;   ///< no more than `begin` if the row has none
        std::int32_t start = 0; ///< of its values, where lane 0 is or would be
        bool empty() const { return begin >= end; }
    };

    RowIntervals() = default;
    explicit RowIntervals(const std::vector<RowLayout::Place>& places) {
        if (places.empty()) {
            return;
        }
        for (std::size_t a = 0; a < 2; ++a) {
            int low = places.front().row[a];
            int high = low;
            for (const RowLayout::Place& at : places) {
                low = std::min(low, at.row[a]);
                high = std::max(high, at.row[a]);
            }
            first_[a] = low;
            count_[a] = high - low + 1;
        }
        row_.resize(static_cast<std::size_t>(count_[0]) * static_cast<std::size_t>(count_[1]));
        for (const RowLayout::Place& at : places) {
            Row& row = *find(at.row[0], at.row[1]);
            row.begin = row.empty() ? at.lane : std::min(row.begin, at.lane);
            row.end = std::max(row.end, at.lane + 1);
        }
    }

    Row* find(int first, int second) {
        const int i = first - first_[0];
        const int j = second - first_[1];
        const bool among = i >= 0 && i < count_[0] && j >= 0 && j < count_[1];
        return among ? &row_[static_cast<std::size_t>(j * count_[0] + i)] : nullptr;
    }
    int first(std::size_t which) const { return first_[which]; }
    int end(std::size_t which) const { return first_[which] + count_[which]; }
    std::vector<Row>& rows() { return row_; }

private:
    int first_[2] = {0, 0};
    int count_[2] = {0, 0};
    std::vector<Row> row_;
};

} // namespace brimstone::dose
