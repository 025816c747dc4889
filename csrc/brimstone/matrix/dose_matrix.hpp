#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "brimstone/matrix/compressed_columns.hpp"
#include "brimstone/matrix/precision.hpp"
#include "brimstone/support/buffer.hpp"
#include "brimstone/support/kernels/kernels.hpp"

namespace brimstone {

/// One column on its way into a matrix: rows in any order, each at most once.
struct ColumnEntries {
    std::vector<std::uint32_t> row;
    std::vector<float> value;
};

/// Dose influence matrix D (voxels × beamlets, Gy/MU), stored once for both products.
///
/// Values are 16-bit multiples of a step of their column, its highest value / 65535. They lie in tiles of 16
/// consecutive rows by 2 consecutive columns, zeros included: a tile is read, converted and multiplied with
/// a few vector instructions and needs one index of 8 bits. The caller orders rows so that 16 of them are
/// neighbors in space, which one beamlet reaches together, and columns so that neighbors follow each
/// other. Tiles with few entries are stored entry by entry instead, so that no matrix takes more than about
/// 5 bytes per nonzero.
///
/// Blocks of 1024 rows hold their part of each column pair as a run. D·w adds a block's runs into
/// accumulators that stay in the first-level cache; Dᵀ·r sums each run, and the runs of a column are added
/// in a fixed order afterwards. A block belongs to one thread at a time, so both products are bitwise the
/// same for any number of threads.
class DoseMatrix {
public:
    /// Gives the entries of a column; called at most twice for each, from any thread.
    using ColumnSource = std::function<void(std::size_t column, ColumnEntries& entries)>;

    DoseMatrix(std::size_t rows, std::size_t columns, const ColumnSource& source, int threads);

    /// @param source      the whole matrix
    /// @param row_map     for every row of the source its row here, or -1 to leave it out
    /// @param kept_rows   number of rows here
    /// @param columns     the source's columns to keep, in this order
    template <class Index>
    static DoseMatrix from_columns(const CompressedColumns<Index>& source,
                                   const std::vector<std::int32_t>& row_map, std::size_t kept_rows,
                                   const std::vector<std::uint32_t>& columns, int threads);

    /// Adds the entries of a column, in the rows of a map as above; source and map must outlive it.
    template <class Index>
    static ColumnSource mapped_columns(const CompressedColumns<Index>& source,
                                       const std::vector<std::int32_t>& row_map);
    /// A matrix of the rows of several sources, each of which adds its own to every column.
    static DoseMatrix from_sources(const std::vector<ColumnSource>& sources, std::size_t rows,
                                   const std::vector<std::uint32_t>& columns, int threads);

    /// A matrix of arrays that another one had, such as those of a mapped file, without copying them.
    /// @param take  called as `take(name, Buffer<T>& array)` for each of them
    /// @throws std::invalid_argument  when they do not describe a matrix
    template <class Take>
    DoseMatrix(std::size_t rows, std::size_t columns, std::size_t nonzeros, Take&& take)
        : rows_(rows), columns_(columns), nonzeros_(nonzeros) {
        visit_arrays(*this, take);
        check_arrays();
    }

    /// Calls `visit(name, const Buffer<T>&)` for each array that the matrix consists of.
    template <class Visit>
    void for_each_array(Visit&& visit) const {
        visit_arrays(*this, visit);
    }

    std::size_t rows() const { return rows_; }
    std::size_t columns() const { return columns_; }
    /// Entries that are not zero once they are rounded to 16 bits.
    std::size_t nonzeros() const { return nonzeros_; }
    std::size_t bytes() const;

    /// dose = D · weight for 1, 2 or 8 right-hand sides. Weights are interleaved, [column][n_rhs]; doses are
    /// not, [n_rhs][row].
    template <class Real>
    void multiply(const double* weight, int n_rhs, Real* dose, Precision precision, int threads) const;

    /// Writes rows [begin, end) of each right-hand side; called once for each block of rows, from any thread.
    using RowSource = std::function<void(std::size_t begin, std::size_t end, double* const* rows)>;

    /// result = Dᵀ · residual for 1 or 2 right-hand sides; results are [column][n_rhs].
    void multiply_transposed(const RowSource& residual, int n_rhs, double* result, Precision precision,
                             int threads) const;

    /// Pairs of columns; the last one may be half empty.
    std::size_t n_pairs() const { return pair_start_.size() - 1; }

    /// Gy/MU of a value of 1 in a column.
    float step(std::size_t column) const { return step_[column]; }

    /// Calls `visit_tile(first row, values)` and `visit_entry(row, column, value)` for what a pair of columns
    /// has; values are in units of the column's step.
    template <class VisitTile, class VisitEntry>
    void for_each_in_pair(std::size_t pair, VisitTile&& visit_tile, VisitEntry&& visit_entry) const {
        for (std::size_t i = pair_start_[pair]; i < pair_start_[pair + 1]; ++i) {
            const std::size_t first_row = pair_block_[i] * block_rows;
            for_each_in_run(
                pair_run_[i],
                [&](std::size_t row, const std::uint16_t* value) { visit_tile(first_row + row, value); },
                [&](std::size_t row, std::size_t column, std::uint16_t value) {
                    visit_entry(first_row + row, column, value);
                });
        }
    }

private:
    class Builder;

    template <class Matrix, class Visit>
    static void visit_arrays(Matrix& matrix, Visit& visit) {
        visit("value", matrix.value_);
        visit("tile_row", matrix.tile_row_);
        visit("loose", matrix.loose_);
        visit("run", matrix.run_);
        visit("block_start", matrix.block_start_);
        visit("pair_start", matrix.pair_start_);
        visit("pair_run", matrix.pair_run_);
        visit("pair_block", matrix.pair_block_);
        visit("slot", matrix.slot_);
        visit("step", matrix.step_);
    }
    void check_arrays() const;

    std::size_t n_blocks() const { return block_start_.size() - 1; }
    TileData tiles() const {
        return {run_.data(), value_.data(), tile_row_.data(), slot_.data(), loose_.data()};
    }

    /// As `for_each_in_pair`, with rows counted in the block.
    template <class VisitTile, class VisitEntry>
    void for_each_in_run(std::size_t index, VisitTile&& visit_tile, VisitEntry&& visit_entry) const {
        const Run& run = run_[index];
        const Run& next = run_[index + 1];
        for (std::size_t tile = run.first_tile; tile != next.first_tile; ++tile) {
            visit_tile(tile_row_[tile] * tile_rows, value_.data() + tile * tile_entries);
        }
        for (std::size_t p = run.first_loose; p != next.first_loose; ++p) {
            const std::size_t place = loose_[p].place;
            visit_entry(place / tile_columns, run.column_pair * tile_columns + place % tile_columns,
                        loose_[p].value);
        }
    }
    /// Calls `visit(row in the block, column, value)` for every entry of a run that is not zero.
    template <class Visit>
    void for_each_entry_in_run(std::size_t index, Visit&& visit) const {
        const std::size_t first_column = run_[index].column_pair * tile_columns;
        for_each_in_run(
            index,
            [&](std::size_t row, const std::uint16_t* value) {
                for (std::size_t entry = 0; entry < tile_entries; ++entry) {
                    if (value[entry] != 0) {
                        visit(row + entry % tile_rows, first_column + entry / tile_rows, value[entry]);
                    }
                }
            },
            visit);
    }

    template <class Real>
    void multiply_fast(const double* weight, int n_rhs, Real* dose, int threads) const;
    template <class Real>
    void multiply_reference(const double* weight, int n_rhs, Real* dose, int threads) const;
    void sum_runs(std::size_t block, int n_rhs, const double* const* residual, float* run_sum) const;
    void sum_runs(std::size_t block, int n_rhs, const double* const* residual, double* run_sum) const;
    template <class Sum>
    void multiply_transposed(const RowSource& residual, int n_rhs, double* result, int threads) const;
    template <class Sum>
    void add_up_runs(const Sum* run_sum, int n_rhs, double* result, int threads) const;

    std::size_t rows_ = 0;
    std::size_t columns_ = 0;
    std::size_t nonzeros_ = 0;
    Buffer<std::uint16_t> value_;
    Buffer<std::uint8_t> tile_row_;
    Buffer<LooseEntry> loose_;
    Buffer<Run> run_;                   ///< by block, then by column pair; and the end
    Buffer<std::uint64_t> block_start_; ///< first run of each block, and the end
    Buffer<std::uint64_t> pair_start_;  ///< of each column pair in the two lists below, and the end
    Buffer<std::uint32_t> pair_run_;    ///< the runs of each column pair, by ascending block
    Buffer<std::uint32_t> pair_block_;  ///< their blocks
    Buffer<std::uint32_t> slot_;        ///< of each run in the two lists above
    Buffer<float> step_;                ///< Gy/MU of a value of 1, per column, of whole pairs
};

} // namespace brimstone
