#include "brimstone/dose_matrix.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "brimstone/parallel.hpp"
#include "brimstone/vector_paths.hpp"

namespace brimstone {

namespace {

template <class T>
std::size_t vector_bytes(const std::vector<T>& v) {
    return v.size() * sizeof(T);
}

/// voxel[row] += value · w for one run of a column, for all right-hand sides.
template <class Real, int NRhs>
BRIMSTONE_INLINE void add_run(const std::uint16_t* row, const float* value, std::size_t count,
                              const Real* weight, Real* sum) {
    Real w[NRhs];
    for (int r = 0; r < NRhs; ++r) {
        w[r] = weight[r];
    }
    for (std::size_t p = 0; p < count; ++p) {
        Real* const voxel = sum + std::size_t{row[p]} * NRhs;
        const Real v = value[p];
        for (int r = 0; r < NRhs; ++r) {
            voxel[r] += v * w[r];
        }
    }
}

template <class Real, int NRhs>
struct RunAdder {
    static void add(const std::uint16_t* row, const float* value, std::size_t count, const Real* weight,
                    Real* sum) {
        add_run<Real, NRhs>(row, value, count, weight, sum);
    }
};

/// The line search's product, worth its own vector paths.
BRIMSTONE_VECTOR_PATHS void add_run_float8(const std::uint16_t* row, const float* value, std::size_t count,
                                           const float* weight, float* sum) {
    add_run<float, 8>(row, value, count, weight, sum);
}

template <>
struct RunAdder<float, 8> {
    static constexpr auto add = &add_run_float8;
};

} // namespace

template <class Index>
DoseMatrix::DoseMatrix(const CompressedColumns<Index>& source, const std::vector<std::int32_t>& row_map,
                       std::size_t kept_rows, const std::vector<std::uint32_t>& columns)
    : rows_(kept_rows), columns_(columns.size()) {
    const std::size_t blocks = (rows_ + block_rows - 1) / block_rows;
    constexpr auto no_column = std::numeric_limits<std::size_t>::max();
    const auto for_each_entry = [&](std::size_t c, auto&& visit) {
        const std::uint32_t column = columns[c];
        for (std::int64_t p = source.column_start[column]; p < source.column_start[column + 1]; ++p) {
            const std::int32_t row = row_map[static_cast<std::size_t>(source.row[p])];
            if (row >= 0 && source.value[p] != 0.0F) {
                visit(static_cast<std::size_t>(row), source.value[p]);
            }
        }
    };

    std::vector<std::size_t> entries(blocks, 0);
    std::vector<std::size_t> runs(blocks, 0);
    std::vector<std::size_t> last_column(blocks, no_column);
    for (std::size_t c = 0; c < columns_; ++c) {
        for_each_entry(c, [&](std::size_t row, float) {
            const std::size_t block = row / block_rows;
            ++entries[block];
            if (last_column[block] != c) {
                last_column[block] = c;
                ++runs[block];
            }
        });
    }

    block_start_.assign(blocks + 1, 0);
    std::vector<std::size_t> next_entry(blocks, 0);
    std::size_t total = 0;
    for (std::size_t block = 0; block < blocks; ++block) {
        block_start_[block + 1] = block_start_[block] + runs[block];
        next_entry[block] = total;
        total += entries[block];
    }
    if (block_start_[blocks] > std::numeric_limits<std::uint32_t>::max()) {
        throw std::length_error("dose matrix too large: more than 2^32 runs");
    }
    local_row_.resize(total);
    value_.resize(total);
    run_start_.resize(block_start_[blocks] + 1);
    run_start_.back() = total;
    run_column_.resize(block_start_[blocks]);
    run_block_.resize(block_start_[blocks]);

    std::vector<std::size_t> next_run(block_start_.begin(), block_start_.end() - 1);
    std::fill(last_column.begin(), last_column.end(), no_column);
    for (std::size_t c = 0; c < columns_; ++c) {
        for_each_entry(c, [&](std::size_t row, float value) {
            const std::size_t block = row / block_rows;
            if (last_column[block] != c) {
                last_column[block] = c;
                const std::size_t run = next_run[block]++;
                run_start_[run] = next_entry[block];
                run_column_[run] = static_cast<std::uint32_t>(c);
                run_block_[run] = static_cast<std::uint32_t>(block);
            }
            const std::size_t p = next_entry[block]++;
            local_row_[p] = static_cast<std::uint16_t>(row % block_rows);
            value_[p] = value;
        });
    }
    index_columns();
}

void DoseMatrix::index_columns() {
    column_start_.assign(columns_ + 1, 0);
    for (const std::uint32_t column : run_column_) {
        ++column_start_[column + 1];
    }
    for (std::size_t c = 0; c < columns_; ++c) {
        column_start_[c + 1] += column_start_[c];
    }
    column_run_.resize(run_column_.size());
    std::vector<std::size_t> next(column_start_.begin(), column_start_.end() - 1);
    for (std::size_t run = 0; run < run_column_.size(); ++run) {
        column_run_[next[run_column_[run]]++] = static_cast<std::uint32_t>(run);
    }
}

std::size_t DoseMatrix::bytes() const {
    return vector_bytes(local_row_) + vector_bytes(value_) + vector_bytes(run_start_) +
           vector_bytes(run_column_) + vector_bytes(run_block_) + vector_bytes(block_start_) +
           vector_bytes(column_start_) + vector_bytes(column_run_);
}

template <class Real, int NRhs>
void DoseMatrix::multiply_fixed(const Real* weight, Real* dose, int threads) const {
    parallel_for(n_blocks(), threads, [&](std::size_t block) {
        alignas(64) Real sum[block_rows * NRhs] = {};
        for (std::size_t run = block_start_[block]; run < block_start_[block + 1]; ++run) {
            const std::size_t p = run_start_[run];
            RunAdder<Real, NRhs>::add(local_row_.data() + p, value_.data() + p, run_start_[run + 1] - p,
                                      weight + std::size_t{run_column_[run]} * NRhs, sum);
        }
        const std::size_t first = block * block_rows;
        const std::size_t count = std::min(block_rows, rows_ - first);
        std::copy_n(sum, count * NRhs, dose + first * NRhs);
    });
}

template <class Real>
void DoseMatrix::multiply_any(const Real* weight, int n_rhs, Real* dose, int threads) const {
    const auto k = static_cast<std::size_t>(n_rhs);
    std::vector<Real> w(columns_);
    std::vector<Real> d(rows_);
    for (std::size_t r = 0; r < k; ++r) {
        for (std::size_t c = 0; c < columns_; ++c) {
            w[c] = weight[c * k + r];
        }
        multiply_fixed<Real, 1>(w.data(), d.data(), threads);
        for (std::size_t j = 0; j < rows_; ++j) {
            dose[j * k + r] = d[j];
        }
    }
}

template <class Real>
void DoseMatrix::multiply(const Real* weight, int n_rhs, Real* dose, int threads) const {
    switch (n_rhs) {
    case 1:
        return multiply_fixed<Real, 1>(weight, dose, threads);
    case 2:
        return multiply_fixed<Real, 2>(weight, dose, threads);
    case 8:
        return multiply_fixed<Real, 8>(weight, dose, threads);
    default:
        return multiply_any(weight, n_rhs, dose, threads);
    }
}

template <int NRhs>
void DoseMatrix::multiply_transposed_fixed(const double* residual, double* result, int threads) const {
    std::vector<double> run_sum(run_column_.size() * NRhs);
    parallel_for(n_blocks(), threads, [&](std::size_t block) {
        const double* const block_residual = residual + block * block_rows * NRhs;
        for (std::size_t run = block_start_[block]; run < block_start_[block + 1]; ++run) {
            double sum[NRhs] = {};
            for (std::size_t p = run_start_[run]; p < run_start_[run + 1]; ++p) {
                const double* const voxel = block_residual + std::size_t{local_row_[p]} * NRhs;
                const double value = value_[p];
                for (int r = 0; r < NRhs; ++r) {
                    sum[r] += value * voxel[r];
                }
            }
            std::copy_n(sum, NRhs, run_sum.data() + run * NRhs);
        }
    });
    parallel_pieces(columns_, 256, threads, [&](std::size_t, std::size_t begin, std::size_t end) {
        for (std::size_t c = begin; c < end; ++c) {
            double sum[NRhs] = {};
            for (std::size_t i = column_start_[c]; i < column_start_[c + 1]; ++i) {
                for (int r = 0; r < NRhs; ++r) {
                    sum[r] += run_sum[std::size_t{column_run_[i]} * NRhs + static_cast<std::size_t>(r)];
                }
            }
            std::copy_n(sum, NRhs, result + c * NRhs);
        }
    });
}

void DoseMatrix::multiply_transposed(const double* residual, int n_rhs, double* result, int threads) const {
    if (n_rhs == 1) {
        return multiply_transposed_fixed<1>(residual, result, threads);
    }
    if (n_rhs == 2) {
        return multiply_transposed_fixed<2>(residual, result, threads);
    }
    const auto k = static_cast<std::size_t>(n_rhs);
    std::vector<double> one(rows_);
    std::vector<double> sum(columns_);
    for (std::size_t r = 0; r < k; ++r) {
        for (std::size_t j = 0; j < rows_; ++j) {
            one[j] = residual[j * k + r];
        }
        multiply_transposed_fixed<1>(one.data(), sum.data(), threads);
        for (std::size_t c = 0; c < columns_; ++c) {
            result[c * k + r] = sum[c];
        }
    }
}

template DoseMatrix::DoseMatrix(const CompressedColumns<std::int32_t>&, const std::vector<std::int32_t>&,
                                std::size_t, const std::vector<std::uint32_t>&);
template DoseMatrix::DoseMatrix(const CompressedColumns<std::int64_t>&, const std::vector<std::int32_t>&,
                                std::size_t, const std::vector<std::uint32_t>&);
template void DoseMatrix::multiply(const double*, int, double*, int) const;
template void DoseMatrix::multiply(const float*, int, float*, int) const;

} // namespace brimstone
