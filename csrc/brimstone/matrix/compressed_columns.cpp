#include "brimstone/matrix/compressed_columns.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <stdexcept>

#include "brimstone/support/parallel.hpp"

namespace brimstone {

namespace {

constexpr std::size_t columns_per_piece = 64;

template <class Index>
[[noreturn]] void refuse(const CompressedColumns<Index>& source, std::size_t column, std::int64_t entry,
                         const char* what) {
    std::ostringstream message;
    message << "the entry " << source.value[entry] << " in row " << source.row[entry] << ", column " << column
            << " of the matrix " << what;
    throw std::invalid_argument(message.str());
}

template <class Index>
void check_column(const CompressedColumns<Index>& source, std::size_t column) {
    const std::int64_t begin = source.column_start[column];
    const std::int64_t end = source.column_start[column + 1];
    bool ascending = true;
    for (std::int64_t p = begin; p < end; ++p) {
        const Index row = source.row[p];
        if (row < 0 || static_cast<std::size_t>(row) >= source.rows) {
            refuse(source, column, p, ("is outside its " + std::to_string(source.rows) + " rows").c_str());
        }
        if (!(source.value[p] >= 0.0F && std::isfinite(source.value[p]))) {
            refuse(source, column, p, "must be finite and at least 0");
        }
        ascending = ascending && (p == begin || source.row[p - 1] < row);
    }
    if (ascending) {
        return;
    }
    std::vector<Index> sorted(source.row + begin, source.row + end);
    std::sort(sorted.begin(), sorted.end());
    const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
    if (twice != sorted.end()) {
        refuse(source, column, std::find(source.row + begin, source.row + end, *twice) - source.row,
               "is not the only one there");
    }
}

} // namespace

template <class Index>
void check_entries(const CompressedColumns<Index>& source, int threads) {
    parallel_pieces(source.columns, columns_per_piece, threads,
                    [&](std::size_t, std::size_t begin, std::size_t end) {
                        for (std::size_t column = begin; column < end; ++column) {
                            check_column(source, column);
                        }
                    });
}

template <class Index>
std::vector<double> weighted_column_sums(const CompressedColumns<Index>& source, const double* weight,
                                         std::size_t n_weights, int threads) {
    std::vector<double> result(source.columns * n_weights, 0.0);
    parallel_pieces(
        source.columns, columns_per_piece, threads, [&](std::size_t, std::size_t begin, std::size_t end) {
            for (std::size_t c = begin; c < end; ++c) {
                double* const sum = result.data() + c * n_weights;
                for (std::int64_t p = source.column_start[c]; p < source.column_start[c + 1]; ++p) {
                    const double* const w = weight + static_cast<std::size_t>(source.row[p]) * n_weights;
                    const auto value = static_cast<double>(source.value[p]);
                    for (std::size_t k = 0; k < n_weights; ++k) {
                        sum[k] += w[k] * value;
                    }
                }
            }
        });
    return result;
}

template void check_entries(const CompressedColumns<std::int32_t>&, int);
template void check_entries(const CompressedColumns<std::int64_t>&, int);
template std::vector<double> weighted_column_sums(const CompressedColumns<std::int32_t>&, const double*,
                                                  std::size_t, int);
template std::vector<double> weighted_column_sums(const CompressedColumns<std::int64_t>&, const double*,
                                                  std::size_t, int);

} // namespace brimstone
