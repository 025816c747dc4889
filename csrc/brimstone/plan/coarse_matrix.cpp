#include "brimstone/plan/coarse_matrix.hpp"

#include <algorithm>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "brimstone/support/parallel.hpp"

namespace brimstone {

namespace {

/// The finer beamlets around each beamlet of the coarser grid: P in compressed columns.
struct Neighbors {
    std::vector<std::size_t> start;
    std::vector<std::uint32_t> beamlet;
    std::vector<double> share;
};

Neighbors transpose(const Coarsening& coarsening) {
    Neighbors result;
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

/// R D, a pair of columns at a time.
class ReducedPairs {
public:
    struct Entry {
        std::uint32_t voxel;
        float dose[tile_columns];
    };

    ReducedPairs(const DoseMatrix& finer, const Coarsening& coarsening)
        : finer_(finer), coarsening_(coarsening), half_voxel_(finer.rows() / half_rows + 2, mixed) {
        // Half a tile is often one block of 2 × 2 × 2 voxels.
        for (std::size_t half = 0; half * half_rows < finer.rows(); ++half) {
            const std::size_t end = std::min(finer.rows(), (half + 1) * half_rows);
            std::uint32_t voxel = Coarsening::none;
            bool one = true;
            for (std::size_t row = half * half_rows; row < end; ++row) {
                const std::uint32_t here = coarsening.voxel[row];
                one = one && (voxel == Coarsening::none || here == Coarsening::none || here == voxel);
                voxel = here == Coarsening::none ? voxel : here;
            }
            half_voxel_[half] = one ? voxel : mixed;
        }
    }

    struct Desk {
        explicit Desk(std::size_t n_voxels) : sum(n_voxels * tile_columns, 0.0F) {}
        std::vector<float> sum; ///< zero for every voxel and column, before and after
        std::vector<std::uint32_t> touched;
    };

    void compute(std::size_t pair, Desk& desk, std::vector<Entry>& result) const {
        std::vector<float>& sum = desk.sum;
        desk.touched.clear();
        const float step[tile_columns] = {finer_.step(pair * tile_columns),
                                          finer_.step(pair * tile_columns + 1)};
        const auto add = [&](std::uint32_t voxel, float left, float right) {
            if (voxel == Coarsening::none) {
                throw std::invalid_argument("a row with dose has no voxel on the coarser grid");
            }
            float* const at = sum.data() + std::size_t{voxel} * tile_columns;
            if (at[0] == 0.0F && at[1] == 0.0F) {
                desk.touched.push_back(voxel);
            }
            at[0] += left * step[0];
            at[1] += right * step[1];
        };
        finer_.for_each_in_pair(
            pair,
            [&](std::size_t row, const std::uint16_t* value) {
                add_half_tile(row, value, add);
                add_half_tile(row + half_rows, value + half_rows, add);
            },
            [&](std::size_t row, std::size_t column, std::uint16_t value) {
                const bool left = column % tile_columns == 0;
                add(coarsening_.voxel[row], left ? static_cast<float>(value) : 0.0F,
                    left ? 0.0F : static_cast<float>(value));
            });
        result.resize(desk.touched.size());
        for (std::size_t i = 0; i < result.size(); ++i) {
            const std::uint32_t voxel = desk.touched[i];
            result[i].voxel = voxel;
            for (std::size_t side = 0; side < tile_columns; ++side) {
                result[i].dose[side] = std::exchange(sum[voxel * tile_columns + side], 0.0F);
            }
        }
    }

private:
    static constexpr std::size_t half_rows = tile_rows / 2;
    static constexpr std::uint32_t mixed = Coarsening::none - 1;

    template <class Add>
    void add_half_tile(std::size_t row, const std::uint16_t* value, const Add& add) const {
        const std::uint16_t* const right = value + tile_rows;
        const std::uint32_t voxel = half_voxel_[row / half_rows];
        if (voxel != mixed) {
            std::uint32_t sum[tile_columns] = {};
            for (std::size_t lane = 0; lane < half_rows; ++lane) {
                sum[0] += value[lane];
                sum[1] += right[lane];
            }
            if ((sum[0] | sum[1]) != 0) {
                add(voxel, static_cast<float>(sum[0]), static_cast<float>(sum[1]));
            }
            return;
        }
        for (std::size_t lane = 0; lane < half_rows; ++lane) {
            if ((value[lane] | right[lane]) != 0) {
                add(coarsening_.voxel[row + lane], value[lane], right[lane]);
            }
        }
    }

    const DoseMatrix& finer_;
    const Coarsening& coarsening_;
    std::vector<std::uint32_t> half_voxel_; ///< where half a tile's rows lie, if in one voxel
};

/// R D P, column by column.
class CoarseColumns {
public:
    CoarseColumns(const DoseMatrix& finer, const Coarsening& coarsening, int threads)
        : coarsening_(coarsening), reduced_(finer, coarsening), around_(transpose(coarsening)),
          block_weight_(block_weights(coarsening)), columns_(coarsening.n_beamlets) {
        // Neighboring columns share finer ones, which a piece reduces once.
        constexpr std::size_t most_pieces = 64;
        const std::size_t piece_size = (columns_.size() + most_pieces - 1) / most_pieces;
        parallel_pieces(columns_.size(), std::max<std::size_t>(1, piece_size), threads,
                        [&](std::size_t, std::size_t begin, std::size_t end) {
                            std::unique_ptr<Desk> desk = desks_.take([&] {
                                return std::make_unique<Desk>(finer.n_pairs(), coarsening_.n_voxels);
                            });
                            for (std::size_t c = begin; c < end; ++c) {
                                compute(c, *desk);
                            }
                            desk->clear();
                            desks_.put_back(std::move(desk));
                        });
    }

    const ColumnEntries& operator[](std::size_t column) const { return columns_[column]; }

private:
    /// What a piece is computed on. It is used again, as fresh memory costs more than the work.
    class Desk {
    public:
        Desk(std::size_t n_pairs, std::size_t n_voxels)
            : dose(n_voxels, 0.0F), reduction_(n_voxels), pair_(n_pairs) {}

        /// A pair of the finer columns, reduced now or before.
        const std::vector<ReducedPairs::Entry>& pair(std::size_t number, const ReducedPairs& reduced) {
            std::vector<ReducedPairs::Entry>& entries = pair_[number];
            if (entries.empty()) {
                if (!spare_.empty()) {
                    entries.swap(spare_.back());
                    spare_.pop_back();
                }
                reduced.compute(number, reduction_, entries);
                used_.push_back(number);
            }
            return entries;
        }

        void clear() {
            for (const std::size_t number : used_) {
                pair_[number].clear();
                spare_.emplace_back().swap(pair_[number]);
            }
            used_.clear();
        }

        std::vector<float> dose;            ///< zero for every voxel between columns
        std::vector<std::uint32_t> touched; ///< voxels with dose

    private:
        ReducedPairs::Desk reduction_;
        std::vector<std::vector<ReducedPairs::Entry>> pair_;
        std::vector<std::size_t> used_;
        std::vector<std::vector<ReducedPairs::Entry>> spare_;
    };

    /// As many desks as there are threads.
    class Desks {
    public:
        template <class Make>
        std::unique_ptr<Desk> take(const Make& make) {
            {
                const std::scoped_lock lock(mutex_);
                if (!free_.empty()) {
                    std::unique_ptr<Desk> desk = std::move(free_.back());
                    free_.pop_back();
                    return desk;
                }
            }
            return make();
        }
        void put_back(std::unique_ptr<Desk> desk) {
            const std::scoped_lock lock(mutex_);
            free_.push_back(std::move(desk));
        }

    private:
        std::mutex mutex_;
        std::vector<std::unique_ptr<Desk>> free_;
    };

    void compute(std::size_t column, Desk& desk) {
        desk.touched.clear();
        for (std::size_t p = around_.start[column]; p < around_.start[column + 1];) {
            // Neighbors are sorted: both columns of a pair follow each other.
            const std::size_t pair = around_.beamlet[p] / tile_columns;
            float share[tile_columns] = {};
            for (; p < around_.start[column + 1] && around_.beamlet[p] / tile_columns == pair; ++p) {
                share[around_.beamlet[p] % tile_columns] = static_cast<float>(around_.share[p]);
            }
            for (const ReducedPairs::Entry& entry : desk.pair(pair, reduced_)) {
                const float part = share[0] * entry.dose[0] + share[1] * entry.dose[1];
                float& dose = desk.dose[entry.voxel];
                if (dose == 0.0F && part > 0.0F) {
                    desk.touched.push_back(entry.voxel);
                }
                dose += part;
            }
        }
        ColumnEntries& result = columns_[column];
        result.row = desk.touched;
        result.value.reserve(result.row.size());
        for (const std::uint32_t voxel : result.row) {
            result.value.push_back(std::exchange(desk.dose[voxel], 0.0F) *
                                   static_cast<float>(block_weight_[voxel]));
        }
    }

    const Coarsening& coarsening_;
    const ReducedPairs reduced_;
    const Neighbors around_;
    const std::vector<double> block_weight_;
    std::vector<ColumnEntries> columns_;
    Desks desks_;
};

} // namespace

std::shared_ptr<const DoseMatrix> coarsen_matrix(const DoseMatrix& finer, const Coarsening& coarsening,
                                                 int threads) {
    const CoarseColumns columns(finer, coarsening, threads);
    return std::make_shared<const DoseMatrix>(
        coarsening.n_voxels, coarsening.n_beamlets,
        [&](std::size_t column, ColumnEntries& entries) { entries = columns[column]; }, threads);
}

} // namespace brimstone
