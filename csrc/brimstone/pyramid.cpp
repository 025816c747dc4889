#include "brimstone/pyramid.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "brimstone/parallel.hpp"

namespace brimstone {

namespace {

struct Column {
    std::vector<std::int32_t> row;
    std::vector<float> value;
};

/// The finer beamlets around each beamlet of the coarser grid: P in compressed columns.
struct Neighbours {
    std::vector<std::size_t> start;
    std::vector<std::uint32_t> beamlet;
    std::vector<double> share;
};

Neighbours transpose(const Coarsening& coarsening) {
    Neighbours result;
    result.start.assign(coarsening.n_beamlets + 1, 0);
    for (const std::uint32_t node : coarsening.beamlet) {
        ++result.start[node + 1];
    }
    std::partial_sum(result.start.begin(), result.start.end(), result.start.begin());
    result.beamlet.resize(coarsening.beamlet.size());
    result.share.resize(coarsening.beamlet.size());
    std::vector<std::size_t> next(result.start.begin(), result.start.end() - 1);
    const std::size_t fine = coarsening.row_start.size() - 1;
    for (std::size_t i = 0; i < fine; ++i) {
        for (auto p = static_cast<std::size_t>(coarsening.row_start[i]);
             p < static_cast<std::size_t>(coarsening.row_start[i + 1]); ++p) {
            const std::size_t at = next[coarsening.beamlet[p]]++;
            result.beamlet[at] = static_cast<std::uint32_t>(i);
            result.share[at] = coarsening.share[p];
        }
    }
    return result;
}

std::vector<double> block_weights(const Coarsening& coarsening) {
    std::vector<double> weight(coarsening.n_voxels, 0.0);
    for (const std::uint32_t voxel : coarsening.voxel) {
        weight[voxel] += 1.0;
    }
    for (double& w : weight) {
        w = 1.0 / w;
    }
    return weight;
}

VoxelShares sum_shares(const VoxelShares& finer, const Coarsening& coarsening) {
    std::vector<double> sum(coarsening.n_voxels, 0.0);
    for (std::size_t i = 0; i < finer.voxel.size(); ++i) {
        sum[coarsening.voxel[finer.voxel[i]]] += finer.share[i];
    }
    VoxelShares result;
    for (std::size_t j = 0; j < sum.size(); ++j) {
        if (sum[j] > 0.0) {
            result.voxel.push_back(static_cast<std::uint32_t>(j));
            result.share.push_back(sum[j]);
        }
    }
    return result;
}

std::shared_ptr<const DoseMatrix> coarsen_matrix(const DoseMatrix& finer, const Coarsening& coarsening,
                                                 int threads) {
    const Neighbours around = transpose(coarsening);
    const std::vector<double> block_weight = block_weights(coarsening);
    std::vector<Column> columns(coarsening.n_beamlets);
    constexpr std::size_t columns_per_piece = 32;
    parallel_pieces(coarsening.n_beamlets, columns_per_piece, threads,
                    [&](std::size_t, std::size_t begin, std::size_t end) {
                        std::vector<double> dose(coarsening.n_voxels, 0.0);
                        std::vector<std::int32_t> touched;
                        for (std::size_t c = begin; c < end; ++c) {
                            touched.clear();
                            for (std::size_t p = around.start[c]; p < around.start[c + 1]; ++p) {
                                const double share = around.share[p];
                                finer.for_each_in_column(
                                    around.beamlet[p], [&](std::size_t row, float value) {
                                        const std::uint32_t voxel = coarsening.voxel[row];
                                        if (dose[voxel] == 0.0) {
                                            touched.push_back(static_cast<std::int32_t>(voxel));
                                        }
                                        dose[voxel] += share * static_cast<double>(value);
                                    });
                            }
                            std::sort(touched.begin(), touched.end());
                            columns[c].row = touched;
                            columns[c].value.reserve(touched.size());
                            for (const std::int32_t voxel : touched) {
                                const auto j = static_cast<std::size_t>(voxel);
                                columns[c].value.push_back(static_cast<float>(dose[j] * block_weight[j]));
                                dose[j] = 0.0;
                            }
                        }
                    });

    std::vector<std::int64_t> start(columns.size() + 1, 0);
    for (std::size_t c = 0; c < columns.size(); ++c) {
        start[c + 1] = start[c] + static_cast<std::int64_t>(columns[c].row.size());
    }
    std::vector<std::int32_t> row(static_cast<std::size_t>(start.back()));
    std::vector<float> value(row.size());
    for (std::size_t c = 0; c < columns.size(); ++c) {
        std::copy(columns[c].row.begin(), columns[c].row.end(), row.begin() + start[c]);
        std::copy(columns[c].value.begin(), columns[c].value.end(), value.begin() + start[c]);
    }
    std::vector<std::int32_t> all_rows(coarsening.n_voxels);
    std::iota(all_rows.begin(), all_rows.end(), 0);
    std::vector<std::uint32_t> all_columns(columns.size());
    std::iota(all_columns.begin(), all_columns.end(), 0U);
    const CompressedColumns<std::int32_t> source{coarsening.n_voxels, columns.size(), start.data(),
                                                 row.data(), value.data()};
    return std::make_shared<const DoseMatrix>(source, all_rows, coarsening.n_voxels, all_columns);
}

} // namespace

PlanGrid coarsen(const PlanGrid& finer, Coarsening coarsening, int threads) {
    PlanGrid result;
    result.matrix = coarsen_matrix(*finer.matrix, coarsening, threads);
    for (const VoxelShares& shares : finer.structures) {
        result.structures.push_back(sum_shares(shares, coarsening));
    }
    auto base_dose = std::make_shared<std::vector<double>>();
    if (!finer.base_dose->empty()) {
        const std::vector<double> block_weight = block_weights(coarsening);
        base_dose->assign(coarsening.n_voxels, 0.0);
        for (std::size_t j = 0; j < finer.base_dose->size(); ++j) {
            const std::uint32_t voxel = coarsening.voxel[j];
            (*base_dose)[voxel] += (*finer.base_dose)[j] * block_weight[voxel];
        }
    }
    result.base_dose = std::move(base_dose);
    result.from_finer = std::move(coarsening);
    return result;
}

std::vector<double> interpolate_weights(const Coarsening& coarsening, const std::vector<double>& coarse) {
    std::vector<double> finer(coarsening.row_start.size() - 1, 0.0);
    for (std::size_t i = 0; i < finer.size(); ++i) {
        for (auto p = static_cast<std::size_t>(coarsening.row_start[i]);
             p < static_cast<std::size_t>(coarsening.row_start[i + 1]); ++p) {
            finer[i] += coarsening.share[p] * coarse[coarsening.beamlet[p]];
        }
    }
    return finer;
}

std::vector<double> average_weights(const Coarsening& coarsening, const std::vector<double>& finer) {
    std::vector<double> sum(coarsening.n_beamlets, 0.0);
    std::vector<double> share(coarsening.n_beamlets, 0.0);
    for (std::size_t i = 0; i < finer.size(); ++i) {
        for (auto p = static_cast<std::size_t>(coarsening.row_start[i]);
             p < static_cast<std::size_t>(coarsening.row_start[i + 1]); ++p) {
            sum[coarsening.beamlet[p]] += coarsening.share[p] * finer[i];
            share[coarsening.beamlet[p]] += coarsening.share[p];
        }
    }
    for (std::size_t c = 0; c < sum.size(); ++c) {
        sum[c] = share[c] > 0.0 ? sum[c] / share[c] : 0.0;
    }
    return sum;
}

} // namespace brimstone
