#include <algorithm>
#include <cmath>
#include <functional>
#include <stdexcept>
#include <string>

#include "brimstone/matrix/dose_matrix.hpp"

namespace brimstone {

namespace {

void require(bool holds, const char* array) {
    if (!holds) {
        throw std::invalid_argument(std::string("the array '") + array +
                                    "' does not belong to this dose matrix");
    }
}

/// Starts of `count` parts, and the end.
void require_starts(const Buffer<std::uint64_t>& start, std::size_t count, std::size_t end,
                    const char* array) {
    require(start.size() == count + 1 && start[0] == 0 && start.back() == end &&
                std::is_sorted(start.begin(), start.end()),
            array);
}

void require_below(const Buffer<std::uint32_t>& numbers, std::size_t count, std::size_t end,
                   const char* array) {
    require(numbers.size() == count && std::all_of(numbers.begin(), numbers.end(),
                                                   [=](std::uint32_t number) { return number < end; }),
            array);
}

} // namespace

/// Whatever the arrays hold, no product may read or write outside of them. Values are not looked at: to read
/// all of them would take as long as a product.
void DoseMatrix::check_arrays() const {
    const std::size_t blocks = (rows_ + block_rows - 1) / block_rows;
    const std::size_t pairs = (columns_ + tile_columns - 1) / tile_columns;
    require(run_.size() > 0, "run");
    const std::size_t runs = run_.size() - 1;
    require_starts(block_start_, blocks, runs, "block_start");
    require_starts(pair_start_, pairs, runs, "pair_start");
    require_below(pair_run_, runs, runs, "pair_run");
    require_below(pair_block_, runs, blocks, "pair_block");
    require_below(slot_, runs, runs, "slot");
    require(tile_row_.size() * tile_entries == value_.size(), "value");
    require(step_.size() == pairs * tile_columns &&
                std::all_of(step_.begin(), step_.end(),
                            [](float step) { return std::isfinite(step) && step >= 0.0F; }),
            "step");
    require(run_[0].first_tile == 0 && run_[0].first_loose == 0 &&
                run_.back().first_tile == tile_row_.size() && run_.back().first_loose == loose_.size(),
            "run");
    for (std::size_t block = 0; block < blocks; ++block) {
        const std::size_t rows = std::min(block_rows, rows_ - block * block_rows);
        const std::size_t tiles = (rows + tile_rows - 1) / tile_rows;
        for (std::size_t run = block_start_[block]; run < block_start_[block + 1]; ++run) {
            const Run& here = run_[run];
            const Run& next = run_[run + 1];
            require(here.column_pair < pairs && here.first_tile <= next.first_tile &&
                        next.first_tile <= tile_row_.size() && here.first_loose <= next.first_loose &&
                        next.first_loose <= loose_.size(),
                    "run");
            require(std::all_of(tile_row_.data() + here.first_tile, tile_row_.data() + next.first_tile,
                                [=](std::uint8_t tile) { return tile < tiles; }),
                    "tile_row");
            require(std::all_of(loose_.data() + here.first_loose, loose_.data() + next.first_loose,
                                [=](const LooseEntry& entry) { return entry.place < rows * tile_columns; }),
                    "loose");
        }
    }
}

} // namespace brimstone
