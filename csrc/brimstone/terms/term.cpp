#include "brimstone/terms/term.hpp"

#include <algorithm>
#include <utility>

#include "brimstone/support/kernels/kernels.hpp"
#include "brimstone/support/parallel.hpp"

namespace brimstone {

VoxelShares::VoxelShares(std::vector<std::uint32_t> voxels, std::vector<double> shares)
    : voxel(std::move(voxels)), share(std::move(shares)) {
    for (std::size_t i = 0; i < voxel.size(); ++i) {
        while (block_position_.size() * block <= voxel[i]) {
            block_position_.push_back(static_cast<std::uint32_t>(i));
        }
    }
}

std::size_t VoxelShares::position(std::size_t first_voxel) const {
    const std::size_t number = first_voxel / block;
    if (number >= block_position_.size()) {
        return voxel.size();
    }
    const std::size_t next = number + 1;
    const std::size_t end = next < block_position_.size() ? block_position_[next] : voxel.size();
    const std::uint32_t* const first = voxel.data();
    return static_cast<std::size_t>(
        std::lower_bound(first + block_position_[number], first + end, first_voxel) - first);
}

void DoseState::find_maximum(int threads) {
    constexpr std::size_t blocks_per_piece = 16;
    const std::size_t n_blocks = (voxels() + block - 1) / block;
    block_maximum_.resize(n_blocks);
    parallel_pieces(n_blocks, blocks_per_piece, threads,
                    [&](std::size_t, std::size_t begin, std::size_t end) {
                        for (std::size_t b = begin; b < end; ++b) {
                            block_maximum_[b] =
                                kernels().highest(dose() + b * block, std::min(block, voxels() - b * block));
                        }
                    });
    maximum_ = n_blocks == 0 ? 0.0 : *std::max_element(block_maximum_.begin(), block_maximum_.end());
}

TermSum::TermSum(const std::vector<const Term*>& terms, const DoseState& state, bool with_residual,
                 int threads) {
    constexpr std::size_t most_pieces = 32;
    constexpr std::size_t smallest_piece = 4096;
    const std::size_t voxels = state.voxels();
    const std::size_t even = (voxels + most_pieces - 1) / most_pieces;
    const std::size_t piece_size =
        std::max(smallest_piece, (even + DoseState::block - 1) / DoseState::block * DoseState::block);
    const std::size_t n_pieces = (voxels + piece_size - 1) / piece_size;

    for (const Term* term : terms) {
        evaluations_.push_back(term->begin(state, n_pieces));
    }
    parallel_pieces(voxels, piece_size, threads, [&](std::size_t number, std::size_t begin, std::size_t end) {
        for (const auto& evaluation : evaluations_) {
            evaluation->collect({number, begin, end});
        }
    });
    std::vector<double> cost(terms.size(), 0.0);
    const auto finish = [&](std::size_t term, bool on_callers_thread) {
        if (evaluations_[term]->wants_callers_thread() == on_callers_thread) {
            cost[term] = evaluations_[term]->finish(with_residual);
        }
    };
    parallel_for(terms.size(), threads, [&](std::size_t term) { finish(term, false); });
    for (std::size_t term = 0; term < terms.size(); ++term) {
        finish(term, true);
        value_ += cost[term];
    }
}

void TermSum::residual(const Residual& residual, std::size_t end) const {
    const std::size_t begin = residual.first_voxel;
    std::fill_n(residual.dose, end - begin, 0.0);
    std::fill_n(residual.wide_dose, end - begin, 0.0);
    for (const auto& evaluation : evaluations_) {
        evaluation->add_residual(begin, end, residual);
    }
}

} // namespace brimstone
