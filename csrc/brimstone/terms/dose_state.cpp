#include "brimstone/terms/dose_state.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "brimstone/support/kernels/kernels.hpp"
#include "brimstone/support/parallel.hpp"

namespace brimstone {

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
    maximum_ = 0.0;
    for (const double highest : block_maximum_) {
        if (!std::isfinite(highest)) {
            throw std::overflow_error("a voxel's dose is not finite: the weights are too high for it");
        }
        maximum_ = std::max(maximum_, highest);
    }
}

} // namespace brimstone
