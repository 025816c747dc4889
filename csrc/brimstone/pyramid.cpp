#include "brimstone/pyramid.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "brimstone/parallel.hpp"

namespace brimstone {

namespace {

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
        if (voxel != Coarsening::none) {
            weight[voxel] += 1.0;
        }
    }
    for (double& w : weight) {
        w = w > 0.0 ? 1.0 / w : 0.0;
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

/// R D P, column by column.
class CoarseColumns {
public:
    CoarseColumns(const DoseMatrix& finer, const Coarsening& coarsening, int threads)
        : finer_(finer), coarsening_(coarsening), around_(transpose(coarsening)),
          block_weight_(block_weights(coarsening)), columns_(coarsening.n_beamlets) {
        constexpr std::size_t most_pieces = 64;
        const std::size_t piece_size = (columns_.size() + most_pieces - 1) / most_pieces;
        parallel_pieces(columns_.size(), std::max<std::size_t>(1, piece_size), threads,
                        [&](std::size_t, std::size_t begin, std::size_t end) {
                            std::vector<double> dose(coarsening_.n_voxels, 0.0);
                            for (std::size_t c = begin; c < end; ++c) {
                                compute(c, dose);
                            }
                        });
    }

    const ColumnEntries& operator[](std::size_t column) const { return columns_[column]; }

private:
    /// @param dose  zero for every voxel, before and after
    void compute(std::size_t column, std::vector<double>& dose) {
        ColumnEntries& result = columns_[column];
        for (std::size_t p = around_.start[column]; p < around_.start[column + 1];) {
            // Neighbours are sorted: both columns of a pair follow each other.
            const std::size_t pair = around_.beamlet[p] / tile_columns;
            double share[tile_columns] = {};
            for (; p < around_.start[column + 1] && around_.beamlet[p] / tile_columns == pair; ++p) {
                share[around_.beamlet[p] % tile_columns] = around_.share[p];
            }
            finer_.for_each_in_pair(pair, [&](std::size_t row, std::size_t beamlet, float value) {
                const double part = share[beamlet % tile_columns] * static_cast<double>(value);
                const std::uint32_t voxel = coarsening_.voxel[row];
                if (dose[voxel] == 0.0 && part > 0.0) {
                    result.row.push_back(voxel);
                }
                dose[voxel] += part;
            });
        }
        std::sort(result.row.begin(), result.row.end());
        result.value.reserve(result.row.size());
        for (const std::uint32_t voxel : result.row) {
            result.value.push_back(static_cast<float>(dose[voxel] * block_weight_[voxel]));
            dose[voxel] = 0.0;
        }
    }

    const DoseMatrix& finer_;
    const Coarsening& coarsening_;
    Neighbours around_;
    std::vector<double> block_weight_;
    std::vector<ColumnEntries> columns_;
};

std::shared_ptr<const DoseMatrix> coarsen_matrix(const DoseMatrix& finer, const Coarsening& coarsening,
                                                 int threads) {
    const CoarseColumns columns(finer, coarsening, threads);
    return std::make_shared<const DoseMatrix>(
        coarsening.n_voxels, coarsening.n_beamlets,
        [&](std::size_t column, ColumnEntries& entries) { entries = columns[column]; }, threads);
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
            if (voxel != Coarsening::none) {
                (*base_dose)[voxel] += (*finer.base_dose)[j] * block_weight[voxel];
            }
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
