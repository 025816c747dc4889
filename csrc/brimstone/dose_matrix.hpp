#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace brimstone {

/// A sparse matrix in compressed columns, as SciPy's csc_matrix holds it. Not owned.
template <class Index>
struct CompressedColumns {
    std::size_t rows = 0;
    std::size_t columns = 0;
    const std::int64_t* column_start = nullptr; ///< columns + 1 entries
    const Index* row = nullptr;
    const float* value = nullptr;
};

/// Dose influence matrix D (voxels × beamlets, Gy/MU), stored once for both products.
///
/// Rows are cut into blocks of `block_rows`. A block holds its part of each column (a "run") with 16-bit row
/// numbers. D·w adds a block's runs into accumulators that stay in the first-level cache; Dᵀ·r sums each run,
/// and the runs of a column are added in a fixed order afterwards. A block belongs to one thread at a time,
/// so both products are bitwise the same for any number of threads.
///
/// Several right-hand sides are interleaved: entry r of voxel or beamlet i is at [i * n_rhs + r].
class DoseMatrix {
public:
    static constexpr std::size_t block_rows = 1024;

    /// @param source      the whole matrix
    /// @param row_map     for every row of the source its row here, or -1 to leave it out
    /// @param kept_rows   number of rows here
    /// @param columns     the source's columns to keep, in this order
    template <class Index>
    DoseMatrix(const CompressedColumns<Index>& source, const std::vector<std::int32_t>& row_map,
               std::size_t kept_rows, const std::vector<std::uint32_t>& columns);

    std::size_t rows() const { return rows_; }
    std::size_t columns() const { return columns_; }
    std::size_t nonzeros() const { return value_.size(); }
    std::size_t bytes() const;

    /// dose = D · weight. `Real` is double, or float where 1e-6 of the result is enough.
    template <class Real>
    void multiply(const Real* weight, int n_rhs, Real* dose, int threads) const;

    /// result = Dᵀ · residual.
    void multiply_transposed(const double* residual, int n_rhs, double* result, int threads) const;

    /// Calls `visit(row, value)` for every entry of a column, by ascending block.
    template <class Visit>
    void for_each_in_column(std::size_t column, Visit&& visit) const {
        for (std::size_t i = column_start_[column]; i < column_start_[column + 1]; ++i) {
            const std::uint32_t run = column_run_[i];
            const std::size_t first_row = run_block_[run] * block_rows;
            for (std::size_t p = run_start_[run]; p < run_start_[run + 1]; ++p) {
                visit(first_row + local_row_[p], value_[p]);
            }
        }
    }

private:
    std::size_t n_blocks() const { return block_start_.size() - 1; }
    void index_columns();

    template <class Real, int NRhs>
    void multiply_fixed(const Real* weight, Real* dose, int threads) const;
    template <class Real>
    void multiply_any(const Real* weight, int n_rhs, Real* dose, int threads) const;
    template <int NRhs>
    void multiply_transposed_fixed(const double* residual, double* result, int threads) const;

    std::size_t rows_ = 0;
    std::size_t columns_ = 0;
    std::vector<std::uint16_t> local_row_; ///< row inside its block, per nonzero
    std::vector<float> value_;             ///< Gy/MU, per nonzero
    std::vector<std::size_t> run_start_;   ///< first nonzero of each run, and the end
    std::vector<std::uint32_t> run_column_;
    std::vector<std::uint32_t> run_block_;
    std::vector<std::size_t> block_start_; ///< first run of each block, and the end
    std::vector<std::size_t> column_start_;
    std::vector<std::uint32_t> column_run_; ///< the runs of each column, by ascending block
};

} // namespace brimstone
