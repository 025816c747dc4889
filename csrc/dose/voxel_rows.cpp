#include "dose/voxel_rows.hpp"

#include <algorithm>

namespace brimstone::dose {

std::vector<VoxelRow> wanted_rows(const Patient& patient, const RowLayout& layout, int longest) {
    const Grid& grid = patient.grid();
    const int first[2] = {layout.first_row(0), layout.first_row(1)};
    const int count[2] = {layout.end_row(0) - first[0], layout.end_row(1) - first[1]};
    struct Interval {
        int begin = 0;
        int end = 0;
    };
    std::vector<Interval> found(static_cast<std::size_t>(count[0]) * static_cast<std::size_t>(count[1]));
    Index3 voxel;
    std::size_t number = 0;
    for (voxel[0] = 0; voxel[0] < grid.shape[0]; ++voxel[0]) {
        for (voxel[1] = 0; voxel[1] < grid.shape[1]; ++voxel[1]) {
            for (voxel[2] = 0; voxel[2] < grid.shape[2]; ++voxel[2], ++number) {
                if (!patient.wanted(number)) {
                    continue;
                }
                const RowLayout::Place at = layout.place(voxel);
                Interval& row =
                    found[static_cast<std::size_t>((at.row[1] - first[1]) * count[0] + at.row[0] - first[0])];
                const bool empty = row.begin == row.end;
                row.begin = empty ? at.lane : std::min(row.begin, at.lane);
                row.end = empty ? at.lane + 1 : std::max(row.end, at.lane + 1);
            }
        }
    }
    std::vector<VoxelRow> rows;
    for (int j = 0; j < count[1]; ++j) {
        for (int i = 0; i < count[0]; ++i) {
            const Interval& row = found[static_cast<std::size_t>(j * count[0] + i)];
            const int pieces = (row.end - row.begin + longest - 1) / longest;
            for (int p = 0; p < pieces; ++p) {
                const int size = (row.end - row.begin + pieces - 1) / pieces;
                const int begin = row.begin + p * size;
                rows.push_back({{first[0] + i, first[1] + j}, begin, std::min(begin + size, row.end)});
            }
        }
    }
    return rows;
}

} // namespace brimstone::dose
