#include "dose/terma_column.hpp"

#include <algorithm>
#include <limits>

#include "dose/row_intervals.hpp"
#include "dose/stencil.hpp"

namespace brimstone::dose {

namespace {

constexpr std::int32_t block = lanes;

/// The rows of TERMA around positions of one row, and the positions that have some.
struct Surroundings {
    RowIntervals::Row* row[corners];
    std::int32_t begin = std::numeric_limits<std::int32_t>::max();
    std::int32_t end = std::numeric_limits<std::int32_t>::min();

    Surroundings(RowIntervals& rows, const std::array<Corner, corners>& corner, int first, int second) {
        for (std::size_t c = 0; c < corners; ++c) {
            row[c] = rows.find(first + corner[c].row[0], second + corner[c].row[1]);
            if (row[c] != nullptr && row[c]->empty()) {
                row[c] = nullptr;
            }
            if (row[c] != nullptr) {
                begin = std::min(begin, row[c]->begin - corner[c].lane);
                end = std::max(end, row[c]->end - corner[c].lane);
            }
        }
    }
    bool any() const { return begin < end; }
};

} // namespace

TermaColumn::TermaColumn(const RowLayout& layout, const std::vector<RowLayout::Place>& places,
                         const std::vector<float>& terma) {
    if (places.empty()) {
        return;
    }
    RowIntervals rows(places);
    const std::array<Corner, corners> corner = cell_corners(layout);
    int low[2];
    int high[2];
    for (std::size_t a = 0; a < 2; ++a) {
        low[a] = high[a] = 0;
        for (const Corner& c : corner) {
            low[a] = std::max(low[a], c.row[a]);
            high[a] = std::min(high[a], c.row[a]);
        }
        low[a] = rows.first(a) - low[a];
        high[a] = rows.end(a) - high[a];
    }
    // How far each row will be read.
    std::vector<std::int32_t> from(rows.rows().size(), std::numeric_limits<std::int32_t>::max());
    std::vector<std::int32_t> to(rows.rows().size(), std::numeric_limits<std::int32_t>::min());
    std::int32_t longest = 0;
    const auto number_of = [&](const RowIntervals::Row* row) {
        return static_cast<std::size_t>(row - rows.rows().data());
    };
    for (int second = low[1]; second < high[1]; ++second) {
        for (int first = low[0]; first < high[0]; ++first) {
            const Surroundings around(rows, corner, first, second);
            if (!around.any()) {
                continue;
            }
            position_.push_back({{first, second}, around.begin, around.end});
            longest = std::max(longest, around.end - around.begin);
            for (std::size_t c = 0; c < corners; ++c) {
                if (around.row[c] != nullptr) {
                    const std::size_t r = number_of(around.row[c]);
                    from[r] = std::min(from[r], around.begin + corner[c].lane);
                    to[r] = std::max(to[r], around.end + corner[c].lane + block);
                }
            }
        }
    }
    std::int32_t size = longest + block + 1; // a row of zeros comes first
    for (std::size_t r = 0; r < rows.rows().size(); ++r) {
        if (!rows.rows()[r].empty()) {
            rows.rows()[r].start = size - from[r];
            size += to[r] - from[r];
        }
    }
    value_.assign(static_cast<std::size_t>(size), 0.0F);
    for (std::size_t i = 0; i < places.size(); ++i) {
        const RowIntervals::Row& row = *rows.find(places[i].row[0], places[i].row[1]);
        value_[static_cast<std::size_t>(row.start + places[i].lane)] = terma[i];
    }
    corner_.reserve(position_.size());
    for (const PositionRow& position : position_) {
        const Surroundings around(rows, corner, position.row[0], position.row[1]);
        CornerRows starts;
        for (std::size_t c = 0; c < corners; ++c) {
            starts.start[c] =
                around.row[c] != nullptr ? around.row[c]->start + corner[c].lane : -position.begin;
        }
        corner_.push_back(starts);
    }
}

std::size_t TermaColumn::bytes() const {
    return position_.size() * sizeof(PositionRow) + corner_.size() * sizeof(CornerRows) +
           value_.size() * sizeof(float);
}

} // namespace brimstone::dose
