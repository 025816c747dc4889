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

/// Checks that a matrix is one of doses: every entry in its rows, no two in one place, each finite and at
/// least 0. Its column starts must be in order.
/// @throws std::invalid_argument  naming an entry that is not
template <class Index>
void check_entries(const CompressedColumns<Index>& source, int threads);

/// sum[column][k] = Σ_row weight[row][k] · value: mean doses of structures, for one, before anything is
/// built.
template <class Index>
std::vector<double> weighted_column_sums(const CompressedColumns<Index>& source, const double* weight,
                                         std::size_t n_weights, int threads);

} // namespace brimstone
