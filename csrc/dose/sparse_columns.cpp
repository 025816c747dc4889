#include "dose/sparse_columns.hpp"

#include <algorithm>
#include <array>

#include "brimstone/support/parallel.hpp"

namespace brimstone::dose {

SparseColumns SparseColumns::from(std::vector<DoseColumn>& columns, int threads) {
    SparseColumns result;
    result.start.assign(columns.size() + 1, 0);
    for (std::size_t c = 0; c < columns.size(); ++c) {
        result.start[c + 1] = result.start[c] + static_cast<std::int64_t>(columns[c].dose.size());
    }
    const auto size = static_cast<std::size_t>(result.start.back());
    result.voxel = Buffer<std::int32_t>(size);
    result.dose = Buffer<float>(size);
    parallel_for(columns.size(), threads, [&](std::size_t c) {
        const DoseColumn column = std::move(columns[c]);
        columns[c] = {};
        const auto first = static_cast<std::size_t>(result.start[c]);
        std::copy(column.voxel.begin(), column.voxel.end(), result.voxel.data() + first);
        std::copy(column.dose.begin(), column.dose.end(), result.dose.data() + first);
    });
    return result;
}

void sort_by_voxel(std::vector<VoxelDose>& entries, std::vector<VoxelDose>& scratch) {
    if (entries.empty()) {
        return;
    }
    constexpr unsigned digit = 11;
    constexpr std::uint32_t values = 1U << digit;
    std::uint32_t low = entries.front().voxel;
    std::uint32_t high = low;
    for (const VoxelDose& entry : entries) {
        low = std::min(low, entry.voxel);
        high = std::max(high, entry.voxel);
    }
    scratch.resize(entries.size());
    for (unsigned shift = 0; shift < 32 && (high - low) >> shift != 0; shift += digit) {
        std::array<std::uint32_t, values + 1> start{};
        for (const VoxelDose& entry : entries) {
            ++start[((entry.voxel - low) >> shift) % values + 1];
        }
        for (std::uint32_t v = 0; v < values; ++v) {
            start[v + 1] += start[v];
        }
        for (const VoxelDose& entry : entries) {
            scratch[start[((entry.voxel - low) >> shift) % values]++] = entry;
        }
        entries.swap(scratch);
    }
}

} // namespace brimstone::dose
