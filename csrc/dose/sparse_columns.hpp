#pragma once

#include <cstdint>
#include <vector>

#include "brimstone/support/buffer.hpp"

namespace brimstone::dose {

/// One beamlet's doses, by voxel in C order.
struct DoseColumn {
    std::vector<std::int32_t> voxel;
    std::vector<float> dose; ///< Gy per MU and fraction
};

/// Columns of a matrix behind each other.
struct SparseColumns {
    std::vector<std::int64_t> start;
    Buffer<std::int32_t> voxel;
    Buffer<float> dose;

    /// Puts columns together; each is freed when it has been copied.
    static SparseColumns from(std::vector<DoseColumn>& columns, int threads);
};

/// A voxel's dose while a column is put together.
struct VoxelDose {
    std::uint32_t voxel;
    float dose;
};

/// Sorts by voxel.
void sort_by_voxel(std::vector<VoxelDose>& entries, std::vector<VoxelDose>& scratch);

} // namespace brimstone::dose
