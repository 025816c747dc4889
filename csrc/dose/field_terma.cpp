#include "dose/field_terma.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

#include "brimstone/support/parallel.hpp"
#include "dose/depth.hpp"

namespace brimstone::dose {

namespace {

/// Mean fluence in a voxel: in squares as large as its parts, where they lie in the beam's eye view.
class VoxelFluence {
public:
    VoxelFluence(const Grid& grid, const Beam& beam, const FluenceMap& map)
        : beam_(beam), map_(map), radius_(0.5 * length(grid.spacing)),
          half_part_(0.5 * std::cbrt(grid.voxel_volume()) / parts), raster_(map.fine(radius_)) {
        for (int x = 0; x < parts; ++x) {
            for (int y = 0; y < parts; ++y) {
                for (int z = 0; z < parts; ++z) {
                    part_.push_back({((x + 0.5) / parts - 0.5) * grid.spacing[0],
                                     ((y + 0.5) / parts - 0.5) * grid.spacing[1],
                                     ((z + 0.5) / parts - 0.5) * grid.spacing[2]});
                }
            }
        }
    }

    double operator()(const Vec3& center) const {
        const Vec3 seen = center - beam_.source;
        const double along = dot(seen, beam_.axis);
        if (along <= 2.0 * radius_) {
            return 0.0;
        }
        const double scale = beam_.sad / along;
        const double x = scale * dot(seen, beam_.x_axis);
        const double y = scale * dot(seen, beam_.y_axis);
        // Seen obliquely, a voxel far from the axis is longer than it is wide.
        const double around = scale * radius_ * (1.0 + std::hypot(x, y) / beam_.sad);
        if (map_.even(x, y, around)) {
            return map_.mean(x, y, scale * half_part_);
        }
        if (raster_) {
            if (const std::optional<double> smooth = map_.smooth_mean(x, y, around)) {
                return *smooth;
            }
        }
        double sum = 0.0;
        for (const Vec3& part : part_) {
            const Vec3 at = seen + part;
            const double part_scale = beam_.sad / dot(at, beam_.axis);
            sum += map_.mean(part_scale * dot(at, beam_.x_axis), part_scale * dot(at, beam_.y_axis),
                             part_scale * half_part_);
        }
        return sum / static_cast<double>(part_.size());
    }

private:
    static constexpr int parts = 3;

    const Beam& beam_;
    const FluenceMap& map_;
    double radius_;
    double half_part_;
    bool raster_;
    std::vector<Vec3> part_;
};

} // namespace

FieldTerma::FieldTerma(const Patient& patient, const RowLayout& layout, const Beam& beam,
                       const FluenceMap& map, const TermaCurve& curve, Monitor& monitor, int threads)
    : rows_{layout.count[1] + 2, layout.count[2] + 2},
      stride_(static_cast<std::size_t>(layout.count[0]) + 2 + lanes),
      value_(static_cast<std::size_t>(rows_[0]) * static_cast<std::size_t>(rows_[1]) * stride_ + lanes) {
    std::fill(value_.data(), value_.data() + value_.size(), 0.0F);
    range_.resize(static_cast<std::size_t>(rows_[0]) * static_cast<std::size_t>(rows_[1]), LaneRange{0, 0});
    const VoxelFluence fluence(patient.grid(), beam, map);
    parallel_for(static_cast<std::size_t>(layout.count[2]), threads, [&](std::size_t plane) {
        const int second = static_cast<int>(plane);
        for (int first = 0; first < layout.count[1] && !monitor.stopped(); ++first) {
            const std::size_t number = static_cast<std::size_t>((second + 1) * rows_[0] + first + 1);
            float* const to = value_.data() + number * stride_ + 1;
            LaneRange& range = range_[number];
            for (int lane = 0; lane < layout.count[0]; ++lane) {
                const Index3 voxel = layout.voxel({{first, second}, lane});
                if (!patient.near(patient.grid().number(voxel))) {
                    continue;
                }
                const double here = fluence(patient.grid().center(voxel));
                if (here > 0.0) {
                    to[lane] = static_cast<float>(here * curve(center_depth(patient, beam.source, voxel)));
                    range.begin = range.empty() ? lane : range.begin;
                    range.end = lane + 1;
                }
            }
            monitor.ask();
        }
    });
    index_positions();
}

void FieldTerma::index_positions() {
    bool any = false;
    for (int j = 0; j + 1 < rows_[1]; ++j) {
        for (int i = 0; i + 1 < rows_[0]; ++i) {
            LaneRange around{0, 0};
            for (const int corner : {0, 1, rows_[0], rows_[0] + 1}) {
                const LaneRange& range = range_[static_cast<std::size_t>(j * rows_[0] + i + corner)];
                if (!range.empty()) {
                    around.begin = around.empty() ? range.begin - 1 : std::min(around.begin, range.begin - 1);
                    around.end = std::max(around.end, range.end);
                }
            }
            position_.push_back(around);
            if (!around.empty()) {
                const int at[2] = {i - 1, j - 1};
                for (std::size_t a = 0; a < 2; ++a) {
                    low_[a] = any ? std::min(low_[a], at[a]) : at[a];
                    high_[a] = any ? std::max(high_[a], at[a] + 1) : at[a] + 1;
                }
                any = true;
            }
        }
    }
}

} // namespace brimstone::dose
