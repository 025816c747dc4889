#include "brimstone/matrix/dose_matrix.hpp"

#include <algorithm>
#include <stdexcept>

#include "brimstone/matrix/dose_matrix_builder.hpp"
#include "brimstone/support/parallel.hpp"

namespace brimstone {

namespace {

constexpr int most_rhs = 8;
constexpr int most_transposed_rhs = 2;

using AddRuns = void (*)(const TileData&, std::size_t, std::size_t, const float*, float*);

AddRuns add_runs_of(int n_rhs) {
    switch (n_rhs) {
    case 1:
        return kernels().add_runs_1;
    case 2:
        return kernels().add_runs_2;
    case 8:
        return kernels().add_runs_8;
    default:
        throw std::invalid_argument("a product with the dose matrix has 1, 2 or 8 right-hand sides");
    }
}

void unpack_tiles(const float* packed, std::size_t count, std::size_t stride, double* rows) {
    kernels().unpack_to_double(packed, count, stride, rows);
}

void unpack_tiles(const float* packed, std::size_t count, std::size_t stride, float* rows) {
    kernels().unpack_to_float(packed, count, stride, rows);
}

template <class Real>
void unpack_tiles(const double* packed, std::size_t count, std::size_t stride, Real* rows) {
    for (std::size_t row = 0; row < count; ++row) {
        rows[row] = static_cast<Real>(packed[row / tile_rows * stride + row % tile_rows]);
    }
}

template <class Real, class Sum>
void unpack_rows(const Sum* packed, std::size_t count, std::size_t n_rhs, Real* rows, std::size_t stride) {
    for (std::size_t r = 0; r < n_rhs; ++r) {
        unpack_tiles(packed + r * tile_rows, count, n_rhs * tile_rows, rows + r * stride);
    }
}

} // namespace

DoseMatrix::DoseMatrix(std::size_t rows, std::size_t columns, const ColumnSource& source, int threads)
    : rows_(rows), columns_(columns) {
    Builder(*this, source, threads).build();
}

template <class Index>
DoseMatrix DoseMatrix::from_columns(const CompressedColumns<Index>& source,
                                    const std::vector<std::int32_t>& row_map, std::size_t kept_rows,
                                    const std::vector<std::uint32_t>& columns, int threads) {
    return from_sources({mapped_columns(source, row_map)}, kept_rows, columns, threads);
}

template <class Index>
DoseMatrix::ColumnSource DoseMatrix::mapped_columns(const CompressedColumns<Index>& source,
                                                    const std::vector<std::int32_t>& row_map) {
    return [&source, &row_map](std::size_t column, ColumnEntries& entries) {
        for (std::int64_t p = source.column_start[column]; p < source.column_start[column + 1]; ++p) {
            const std::int32_t row = row_map[static_cast<std::size_t>(source.row[p])];
            if (row >= 0) {
                entries.row.push_back(static_cast<std::uint32_t>(row));
                entries.value.push_back(source.value[p]);
            }
        }
    };
}

DoseMatrix DoseMatrix::from_sources(const std::vector<ColumnSource>& sources, std::size_t rows,
                                    const std::vector<std::uint32_t>& columns, int threads) {
    const auto read = [&](std::size_t column, ColumnEntries& entries) {
        for (const ColumnSource& add : sources) {
            add(columns[column], entries);
        }
    };
    return DoseMatrix(rows, columns.size(), read, threads);
}

std::size_t DoseMatrix::bytes() const {
    std::size_t total = 0;
    for_each_array([&](const char*, const auto& array) { total += array.bytes(); });
    return total;
}

template <class Real>
void DoseMatrix::multiply_fast(const double* weight, int n_rhs, Real* dose, int threads) const {
    const auto k = static_cast<std::size_t>(n_rhs);
    const AddRuns add_runs = add_runs_of(n_rhs);
    std::vector<float> scaled(step_.size() * k, 0.0F);
    for (std::size_t i = 0; i < columns_ * k; ++i) {
        scaled[i] = static_cast<float>(weight[i] * static_cast<double>(step_[i / k]));
    }
    parallel_for(n_blocks(), threads, [&](std::size_t block) {
        alignas(64) float sum[block_rows * most_rhs];
        std::fill_n(sum, block_rows * k, 0.0F);
        add_runs(tiles(), block_start_[block], block_start_[block + 1], scaled.data(), sum);
        const std::size_t first = block * block_rows;
        unpack_rows(sum, std::min(block_rows, rows_ - first), k, dose + first, rows_);
    });
}

template <class Real>
void DoseMatrix::multiply_reference(const double* weight, int n_rhs, Real* dose, int threads) const {
    const auto k = static_cast<std::size_t>(n_rhs);
    parallel_for(n_blocks(), threads, [&](std::size_t block) {
        std::vector<double> sum(block_rows * k, 0.0);
        const auto add = [&](std::size_t row, std::size_t column, std::uint16_t value) {
            const double entry = static_cast<double>(step_[column]) * value;
            for (std::size_t r = 0; r < k; ++r) {
                sum[(row / tile_rows * k + r) * tile_rows + row % tile_rows] +=
                    entry * weight[column * k + r];
            }
        };
        for (std::size_t run = block_start_[block]; run < block_start_[block + 1]; ++run) {
            for_each_entry_in_run(run, add);
        }
        const std::size_t first = block * block_rows;
        unpack_rows(sum.data(), std::min(block_rows, rows_ - first), k, dose + first, rows_);
    });
}

template <class Real>
void DoseMatrix::multiply(const double* weight, int n_rhs, Real* dose, Precision precision,
                          int threads) const {
    if (precision == Precision::fast) {
        multiply_fast(weight, n_rhs, dose, threads);
    } else {
        multiply_reference(weight, n_rhs, dose, threads);
    }
}

/// Single precision within a run.
void DoseMatrix::sum_runs(std::size_t block, int n_rhs, const double* const* residual, float* run_sum) const {
    const auto k = static_cast<std::size_t>(n_rhs);
    const std::size_t count = std::min(block_rows, rows_ - block * block_rows);
    alignas(64) float packed[block_rows * most_transposed_rhs];
    for (std::size_t r = 0; r < k; ++r) {
        kernels().pack(residual[r], count, k * tile_rows, packed + r * tile_rows);
    }
    const auto add = n_rhs == 1 ? kernels().sum_runs_1 : kernels().sum_runs_2;
    add(tiles(), block_start_[block], block_start_[block + 1], packed, run_sum);
}

/// Double precision.
void DoseMatrix::sum_runs(std::size_t block, int n_rhs, const double* const* residual,
                          double* run_sum) const {
    const auto k = static_cast<std::size_t>(n_rhs);
    for (std::size_t run = block_start_[block]; run < block_start_[block + 1]; ++run) {
        double* const sum = run_sum + std::size_t{slot_[run]} * tile_columns * k;
        std::fill_n(sum, tile_columns * k, 0.0);
        for_each_entry_in_run(run, [&](std::size_t row, std::size_t column, std::uint16_t value) {
            for (std::size_t r = 0; r < k; ++r) {
                sum[column % tile_columns * k + r] += value * residual[r][row];
            }
        });
    }
}

template <class Sum>
void DoseMatrix::add_up_runs(const Sum* run_sum, int n_rhs, double* result, int threads) const {
    const auto k = static_cast<std::size_t>(n_rhs);
    constexpr std::size_t pairs_per_piece = 128;
    parallel_pieces(n_pairs(), pairs_per_piece, threads,
                    [&](std::size_t, std::size_t begin, std::size_t end) {
                        for (std::size_t pair = begin; pair < end; ++pair) {
                            double sum[tile_columns * 2] = {};
                            for (std::size_t i = pair_start_[pair]; i < pair_start_[pair + 1]; ++i) {
                                const Sum* const part = run_sum + i * tile_columns * k;
                                for (std::size_t e = 0; e < tile_columns * k; ++e) {
                                    sum[e] += static_cast<double>(part[e]);
                                }
                            }
                            for (std::size_t e = 0; e < tile_columns * k; ++e) {
                                const std::size_t column = pair * tile_columns + e / k;
                                if (column < columns_) {
                                    result[column * k + e % k] = sum[e] * static_cast<double>(step_[column]);
                                }
                            }
                        }
                    });
}

template <class Sum>
void DoseMatrix::multiply_transposed(const RowSource& residual, int n_rhs, double* result,
                                     int threads) const {
    Buffer<Sum> run_sum((run_.size() - 1) * tile_columns * static_cast<std::size_t>(n_rhs));
    parallel_for(n_blocks(), threads, [&](std::size_t block) {
        double own[most_transposed_rhs][block_rows];
        double* const rows[most_transposed_rhs] = {own[0], own[1]};
        const std::size_t begin = block * block_rows;
        residual(begin, std::min(begin + block_rows, rows_), rows);
        sum_runs(block, n_rhs, rows, run_sum.data());
    });
    add_up_runs(run_sum.data(), n_rhs, result, threads);
}

void DoseMatrix::multiply_transposed(const RowSource& residual, int n_rhs, double* result,
                                     Precision precision, int threads) const {
    if (n_rhs != 1 && n_rhs != most_transposed_rhs) {
        throw std::invalid_argument("a product with the transposed dose matrix has 1 or 2 right-hand sides");
    }
    if (precision == Precision::fast) {
        multiply_transposed<float>(residual, n_rhs, result, threads);
    } else {
        multiply_transposed<double>(residual, n_rhs, result, threads);
    }
}

template DoseMatrix DoseMatrix::from_columns(const CompressedColumns<std::int32_t>&,
                                             const std::vector<std::int32_t>&, std::size_t,
                                             const std::vector<std::uint32_t>&, int);
template DoseMatrix DoseMatrix::from_columns(const CompressedColumns<std::int64_t>&,
                                             const std::vector<std::int32_t>&, std::size_t,
                                             const std::vector<std::uint32_t>&, int);
template DoseMatrix::ColumnSource DoseMatrix::mapped_columns(const CompressedColumns<std::int32_t>&,
                                                             const std::vector<std::int32_t>&);
template DoseMatrix::ColumnSource DoseMatrix::mapped_columns(const CompressedColumns<std::int64_t>&,
                                                             const std::vector<std::int32_t>&);
template void DoseMatrix::multiply(const double*, int, double*, Precision, int) const;
template void DoseMatrix::multiply(const double*, int, float*, Precision, int) const;

} // namespace brimstone
