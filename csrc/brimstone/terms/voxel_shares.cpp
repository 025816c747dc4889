#include "brimstone/terms/voxel_shares.hpp"

#include <algorithm>
#include <utility>

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

} // namespace brimstone
