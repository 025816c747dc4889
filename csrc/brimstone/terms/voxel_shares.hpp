#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace brimstone {

/// The voxels of a structure on one grid, ascending, with the share of its volume that lies in each (they sum
/// to 1).
class VoxelShares {
public:
    VoxelShares(std::vector<std::uint32_t> voxels, std::vector<double> shares);

    const std::vector<std::uint32_t> voxel;
    const std::vector<double> share;

    /// Where the first voxel of at least this number is in the lists.
    std::size_t position(std::size_t first_voxel) const;

private:
    static constexpr std::size_t block = 1024;
    std::vector<std::uint32_t> block_position_; ///< position of every 1024th voxel number
};

/// Shares of a structure that all of its terms look at.
using SharedShares = std::shared_ptr<const VoxelShares>;

} // namespace brimstone
