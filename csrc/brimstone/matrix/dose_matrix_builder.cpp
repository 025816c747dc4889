#include "brimstone/matrix/dose_matrix_builder.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "brimstone/support/parallel.hpp"

namespace brimstone {

namespace {

constexpr float highest_value = std::numeric_limits<std::uint16_t>::max();

std::uint16_t quantized(float value, float step) {
    return step > 0.0F ? static_cast<std::uint16_t>(std::lrint(value / step)) : std::uint16_t{0};
}

} // namespace

struct DoseMatrix::Builder::Desk {
    std::array<ColumnEntries, tile_columns> column;
    std::array<float, tile_columns> step{};
    std::vector<std::uint64_t> touched; ///< a bit per tile
    std::vector<std::uint8_t> entries;  ///< per tile
    std::vector<std::uint32_t> place;   ///< per tile: where it is stored

    explicit Desk(std::size_t n_tiles) : touched((n_tiles + 63) / 64), entries(n_tiles), place(n_tiles) {}
};

DoseMatrix::Builder::Builder(DoseMatrix& matrix, const ColumnSource& source, int threads)
    : matrix_(matrix), source_(source), threads_(threads),
      pairs_((matrix.columns_ + tile_columns - 1) / tile_columns) {
    matrix_.step_ = Buffer<float>(pairs_.size() * tile_columns, 0.0F);
}

template <class Work>
void DoseMatrix::Builder::for_each_pair(const Work& work) const {
    constexpr std::size_t most_pieces = 64;
    const std::size_t n_tiles = (matrix_.rows_ + tile_rows - 1) / tile_rows;
    const std::size_t piece_size = (n_pairs() + most_pieces - 1) / most_pieces;
    parallel_pieces(n_pairs(), std::max<std::size_t>(1, piece_size), threads_,
                    [&](std::size_t, std::size_t begin, std::size_t end) {
                        Desk desk(n_tiles);
                        for (std::size_t pair = begin; pair < end; ++pair) {
                            work(pair, desk);
                        }
                    });
}

void DoseMatrix::Builder::read_pair(std::size_t pair, Desk& desk) const {
    for (std::size_t side = 0; side < tile_columns; ++side) {
        ColumnEntries& entries = desk.column[side];
        entries.row.clear();
        entries.value.clear();
        const std::size_t column = pair * tile_columns + side;
        if (column < matrix_.columns_) {
            source_(column, entries);
        }
        float highest = 0.0F;
        for (const float value : entries.value) {
            highest = std::max(highest, value);
        }
        desk.step[side] = highest / highest_value;
    }
}

void DoseMatrix::Builder::count(std::size_t pair, Desk& desk) {
    read_pair(pair, desk);
    for (std::size_t side = 0; side < tile_columns; ++side) {
        const ColumnEntries& entries = desk.column[side];
        matrix_.step_[pair * tile_columns + side] = desk.step[side];
        for (std::size_t i = 0; i < entries.row.size(); ++i) {
            if (quantized(entries.value[i], desk.step[side]) != 0) {
                const std::size_t tile = entries.row[i] / tile_rows;
                desk.touched[tile / 64] |= std::uint64_t{1} << (tile % 64);
                ++desk.entries[tile];
            }
        }
    }
    PairTiles& tiles = pairs_[pair];
    for (std::size_t word = 0; word < desk.touched.size(); ++word) {
        for (std::size_t tile = word * 64; desk.touched[word] != 0; ++tile, desk.touched[word] >>= 1U) {
            if ((desk.touched[word] & 1U) != 0) {
                tiles.tile.push_back(static_cast<std::uint32_t>(tile));
                tiles.entries.push_back(desk.entries[tile]);
                desk.entries[tile] = 0;
            }
        }
    }
}

/// Full tiles are the fastest, but a matrix must stay small whatever its pattern.
void DoseMatrix::Builder::choose_fewest_entries() {
    constexpr double bytes_wanted = 4.5; // per nonzero
    constexpr double tile_bytes = tile_entries * sizeof(std::uint16_t) + sizeof(std::uint8_t);
    std::array<std::size_t, tile_entries + 1> tiles{};
    for (const PairTiles& pair : pairs_) {
        for (const std::uint8_t entries : pair.entries) {
            ++tiles[entries];
        }
    }
    std::size_t n_tiles = 0;
    matrix_.nonzeros_ = 0;
    for (std::size_t entries = 1; entries <= tile_entries; ++entries) {
        n_tiles += tiles[entries];
        matrix_.nonzeros_ += entries * tiles[entries];
    }
    std::size_t loose = 0;
    const auto bytes = [&] {
        return static_cast<double>(n_tiles) * tile_bytes + static_cast<double>(loose * sizeof(LooseEntry));
    };
    constexpr std::size_t break_even = static_cast<std::size_t>(tile_bytes) / sizeof(LooseEntry);
    while (fewest_entries_ < break_even && bytes() > bytes_wanted * static_cast<double>(matrix_.nonzeros_)) {
        n_tiles -= tiles[fewest_entries_];
        loose += fewest_entries_ * tiles[fewest_entries_];
        ++fewest_entries_;
    }
}

void DoseMatrix::Builder::lay_out_runs() {
    const std::size_t blocks = (matrix_.rows_ + block_rows - 1) / block_rows;
    std::vector<std::size_t> runs(blocks, 0);
    const auto for_each_run = [&](std::size_t pair, auto&& visit) {
        const PairTiles& tiles = pairs_[pair];
        for (std::size_t i = 0; i < tiles.tile.size();) {
            const std::size_t block = tiles.tile[i] / block_tiles;
            std::size_t dense = 0;
            std::size_t loose = 0;
            for (; i < tiles.tile.size() && tiles.tile[i] / block_tiles == block; ++i) {
                if (tiles.entries[i] >= fewest_entries_) {
                    ++dense;
                } else {
                    loose += tiles.entries[i];
                }
            }
            visit(block, dense, loose);
        }
    };
    for (std::size_t pair = 0; pair < n_pairs(); ++pair) {
        for_each_run(pair, [&](std::size_t block, std::size_t, std::size_t) { ++runs[block]; });
    }
    matrix_.block_start_ = Buffer<std::uint64_t>(blocks + 1, 0);
    for (std::size_t block = 0; block < blocks; ++block) {
        matrix_.block_start_[block + 1] = matrix_.block_start_[block] + runs[block];
    }
    const std::size_t n_runs = matrix_.block_start_[blocks];
    matrix_.run_ = Buffer<Run>(n_runs + 1, Run{});
    std::vector<std::size_t> next(matrix_.block_start_.begin(), matrix_.block_start_.end() - 1);
    for (std::size_t pair = 0; pair < n_pairs(); ++pair) {
        for_each_run(pair, [&](std::size_t block, std::size_t dense, std::size_t loose) {
            matrix_.run_[next[block]++] = {static_cast<std::uint32_t>(pair),
                                           static_cast<std::uint32_t>(dense),
                                           static_cast<std::uint32_t>(loose)};
        });
    }
    // From lengths to positions.
    std::size_t tile = 0;
    std::size_t loose = 0;
    for (Run& run : matrix_.run_) {
        const Run length = run;
        run.first_tile = static_cast<std::uint32_t>(tile);
        run.first_loose = static_cast<std::uint32_t>(loose);
        tile += length.first_tile;
        loose += length.first_loose;
    }
    if (std::max({tile, loose, n_runs}) > std::numeric_limits<std::uint32_t>::max()) {
        throw std::length_error("dose matrix too large: more than 2^32 tiles");
    }
    matrix_.value_ = Buffer<std::uint16_t>(tile * tile_entries);
    matrix_.tile_row_ = Buffer<std::uint8_t>(tile);
    matrix_.loose_ = Buffer<LooseEntry>(loose);
}

void DoseMatrix::Builder::index_pairs() {
    matrix_.pair_start_ = Buffer<std::uint64_t>(n_pairs() + 1, 0);
    const std::size_t n_runs = matrix_.run_.size() - 1;
    for (std::size_t run = 0; run < n_runs; ++run) {
        ++matrix_.pair_start_[matrix_.run_[run].column_pair + 1];
    }
    for (std::size_t pair = 0; pair < n_pairs(); ++pair) {
        matrix_.pair_start_[pair + 1] += matrix_.pair_start_[pair];
    }
    matrix_.pair_run_ = Buffer<std::uint32_t>(n_runs);
    matrix_.pair_block_ = Buffer<std::uint32_t>(n_runs);
    matrix_.slot_ = Buffer<std::uint32_t>(n_runs);
    std::vector<std::size_t> next(matrix_.pair_start_.begin(), matrix_.pair_start_.end() - 1);
    for (std::size_t block = 0; block + 1 < matrix_.block_start_.size(); ++block) {
        for (std::size_t run = matrix_.block_start_[block]; run < matrix_.block_start_[block + 1]; ++run) {
            const std::size_t at = next[matrix_.run_[run].column_pair]++;
            matrix_.pair_run_[at] = static_cast<std::uint32_t>(run);
            matrix_.slot_[run] = static_cast<std::uint32_t>(at);
            matrix_.pair_block_[at] = static_cast<std::uint32_t>(block);
        }
    }
}

void DoseMatrix::Builder::fill(std::size_t pair, Desk& desk) {
    const PairTiles& tiles = pairs_[pair];
    std::size_t i = 0;
    for (std::size_t p = matrix_.pair_start_[pair]; p < matrix_.pair_start_[pair + 1]; ++p) {
        const Run& run = matrix_.run_[matrix_.pair_run_[p]];
        std::uint32_t next_tile = run.first_tile;
        std::uint32_t next_loose = run.first_loose;
        for (; i < tiles.tile.size() && tiles.tile[i] / block_tiles == matrix_.pair_block_[p]; ++i) {
            const std::uint32_t tile = tiles.tile[i];
            desk.entries[tile] = tiles.entries[i];
            if (tiles.entries[i] >= fewest_entries_) {
                matrix_.tile_row_[next_tile] = static_cast<std::uint8_t>(tile % block_tiles);
                std::fill_n(matrix_.value_.data() + std::size_t{next_tile} * tile_entries, tile_entries,
                            std::uint16_t{0});
                desk.place[tile] = next_tile++;
            } else {
                desk.place[tile] = next_loose;
                next_loose += tiles.entries[i];
            }
        }
    }
    read_pair(pair, desk);
    for (std::size_t side = 0; side < tile_columns; ++side) {
        const ColumnEntries& entries = desk.column[side];
        for (std::size_t e = 0; e < entries.row.size(); ++e) {
            const std::uint16_t value = quantized(entries.value[e], desk.step[side]);
            if (value == 0) {
                continue;
            }
            const std::size_t row = entries.row[e];
            const std::size_t tile = row / tile_rows;
            if (desk.entries[tile] >= fewest_entries_) {
                matrix_.value_[desk.place[tile] * tile_entries + side * tile_rows + row % tile_rows] = value;
            } else {
                const std::size_t place = row % block_rows * tile_columns + side;
                matrix_.loose_[desk.place[tile]++] = {static_cast<std::uint16_t>(place), value};
            }
        }
    }
    for (const std::uint32_t tile : tiles.tile) {
        desk.entries[tile] = 0;
    }
}

void DoseMatrix::Builder::build() {
    for_each_pair([this](std::size_t pair, Desk& desk) { count(pair, desk); });
    choose_fewest_entries();
    lay_out_runs();
    index_pairs();
    for_each_pair([this](std::size_t pair, Desk& desk) { fill(pair, desk); });
}

} // namespace brimstone
