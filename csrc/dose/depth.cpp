#include "dose/depth.hpp"

#include <cmath>

#include "dose/ray_trace.hpp"
#include "dose/row_intervals.hpp"

namespace brimstone::dose {

namespace {

constexpr double cm_per_mm = 0.1;
constexpr float waiting = -1.0F;
constexpr float elsewhere = -2.0F;

/// Depths of the voxels of one beamlet while rays are traced.
class DepthColumn {
public:
    DepthColumn(const RowLayout& layout, const std::vector<RowLayout::Place>& places)
        : layout_(layout), rows_(places) {
        std::size_t size = 0;
        for (RowIntervals::Row& row : rows_.rows()) {
            row.start = static_cast<std::int32_t>(size) - row.begin;
            size += static_cast<std::size_t>(row.end - row.begin);
        }
        depth_.assign(size, elsewhere);
        for (const RowLayout::Place& at : places) {
            *find(at) = waiting;
        }
    }

    float* find(const RowLayout::Place& at) {
        const RowIntervals::Row* const row = rows_.find(at.row[0], at.row[1]);
        if (row == nullptr || at.lane < row->begin || at.lane >= row->end) {
            return nullptr;
        }
        return depth_.data() + (row->start + at.lane);
    }

    void trace(const Patient& patient, const Vec3& source, const Index3& through) {
        constexpr double shortest_mm = 0.1;
        constexpr double central = 0.75 / 2.0;
        const Grid& grid = patient.grid();
        const Vec3 seen = grid.center(through) - source;
        const Vec3 direction = (1.0 / length(seen)) * seen;
        const double longest = length(
            {direction[0] * grid.spacing[0], direction[1] * grid.spacing[1], direction[2] * grid.spacing[2]});
        const float* const density = patient.density().data();
        double water_mm = 0.0;
        for (VoxelWalk walk(grid, source, direction, 10.0 * length(seen)); walk.inside(); walk.advance()) {
            const double inside = walk.leaves() - walk.enters();
            if (inside <= shortest_mm) {
                continue;
            }
            const double half = 0.5 * inside * static_cast<double>(density[walk.number()]);
            water_mm += half;
            if (inside >= central * longest) {
                float* const depth = find(layout_.place(walk.voxel()));
                if (depth != nullptr && *depth == waiting) {
                    *depth = static_cast<float>(cm_per_mm * water_mm);
                }
            }
            water_mm += half;
        }
    }

private:
    const RowLayout& layout_;
    RowIntervals rows_;
    std::vector<float> depth_;
};

} // namespace

double center_depth(const Patient& patient, const Vec3& source, const Index3& voxel) {
    const Vec3 seen = patient.grid().center(voxel) - source;
    const double distance = length(seen);
    const float* const density = patient.density().data();
    double water_mm = 0.0;
    for (VoxelWalk walk(patient.grid(), source, (1.0 / distance) * seen, distance); walk.inside();
         walk.advance()) {
        water_mm += (walk.leaves() - walk.enters()) * static_cast<double>(density[walk.number()]);
    }
    return cm_per_mm * water_mm;
}

std::vector<float> first_ray_depths(const Patient& patient, const Vec3& source, const RowLayout& layout,
                                    const std::vector<Index3>& voxels) {
    std::vector<RowLayout::Place> places;
    places.reserve(voxels.size());
    for (const Index3& voxel : voxels) {
        places.push_back(layout.place(voxel));
    }
    DepthColumn column(layout, places);
    std::vector<float> depths;
    depths.reserve(voxels.size());
    for (std::size_t i = 0; i < voxels.size(); ++i) {
        if (*column.find(places[i]) == waiting) {
            column.trace(patient, source, voxels[i]);
        }
        // Voxels seven times as long as wide may be passed by no ray nearly centrally, their own included.
        const float depth = *column.find(places[i]);
        depths.push_back(depth == waiting ? static_cast<float>(center_depth(patient, source, voxels[i]))
                                          : depth);
    }
    return depths;
}

} // namespace brimstone::dose
