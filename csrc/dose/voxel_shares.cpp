#include <algorithm>
#include <cmath>
#include <limits>

#include "dose/voxel_shares.hpp"

namespace brimstone::dose {

namespace {

/// An edge in the beam's eye view, so that equal edges of neighbors computed from their centers are equal
/// numbers.
float edge(double center, double offset) {
    constexpr double per_mm = 1e6;
    return static_cast<float>(std::round((center + offset) * per_mm) / per_mm);
}

std::size_t whole_lanes(std::size_t count) {
    return (count + lanes - 1) / lanes * lanes;
}

} // namespace

EyeView::EyeView(const Grid& grid, const Beam& beam, const Settings& settings)
    : grid_(grid), beam_(beam), voxel_radius_(0.5 * length(grid.spacing)),
      samples_(std::make_shared<VoxelSamples>()) {
    const int n = settings.sub_voxels;
    std::size_t i = 0;
    for (int x = 0; x < n; ++x) {
        for (int y = 0; y < n; ++y) {
            for (int z = 0; z < n; ++z) {
                const Vec3 share = {(x + 0.5) / n - 0.5 + settings.sub_voxel_shift,
                                    (y + 0.5) / n - 0.5 + settings.sub_voxel_shift,
                                    (z + 0.5) / n - 0.5 + settings.sub_voxel_shift};
                const Vec3 offset = {share[0] * grid.spacing[0], share[1] * grid.spacing[1],
                                     share[2] * grid.spacing[2]};
                samples_->x[i] = static_cast<float>(dot(offset, beam.x_axis));
                samples_->y[i] = static_cast<float>(dot(offset, beam.y_axis));
                samples_->along[i] = static_cast<float>(dot(offset, beam.axis));
                ++i;
            }
        }
    }
    samples_->count = whole_lanes(i);
    samples_->copies = samples_->count - i;
    for (; i < samples_->count; ++i) {
        samples_->x[i] = samples_->x[0];
        samples_->y[i] = samples_->y[0];
        samples_->along[i] = samples_->along[0];
    }
}

std::pair<int, int> EyeView::lines_part(int x, int z, const float* low, const float* high) const {
    // Inside the rectangle's edge e: (axis − e / sad · beam axis) · place ≥ 0, which is linear along the
    // line.
    const Vec3 first = place({x, 0, z});
    const Vec3 last = place({x, grid_.shape[1] - 1, z});
    double begin = 0.0;
    double end = grid_.shape[1] - 1;
    const auto keep = [&](double at_first, double at_last) {
        const double rise = (at_last - at_first) / (grid_.shape[1] - 1);
        if (std::fabs(rise) < 1e-12) {
            if (at_first < 0.0) {
                end = -1.0;
            }
        } else if (rise > 0.0) {
            begin = std::fmax(begin, -at_first / rise);
        } else {
            end = std::fmin(end, -at_first / rise);
        }
    };
    // A voxel's samples lie within its radius of its center, and `low` may be undershot by as much.
    const double beyond = 2.0 * voxel_radius_;
    keep(first[2] - beyond, last[2] - beyond);
    for (std::size_t a = 0; a < 2; ++a) {
        const double from = static_cast<double>(low[a]) / beam_.sad;
        const double to = static_cast<double>(high[a]) / beam_.sad;
        const double margin_low = voxel_radius_ * std::sqrt(1.0 + from * from);
        const double margin_high = voxel_radius_ * std::sqrt(1.0 + to * to);
        keep(first[a] - from * first[2] + margin_low, last[a] - from * last[2] + margin_low);
        keep(to * first[2] - first[a] + margin_high, to * last[2] - last[a] + margin_high);
    }
    if (!(begin <= end)) {
        return {0, 0};
    }
    return {static_cast<int>(std::ceil(begin)), static_cast<int>(std::floor(end)) + 1};
}

BeamletShares::BeamletShares(const Beamlets& beamlets, const std::vector<std::uint32_t>& members)
    : low_{std::numeric_limits<float>::infinity(), std::numeric_limits<float>::infinity()},
      high_{-std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()},
      width_{static_cast<float>(beamlets.width_x), static_cast<float>(beamlets.width_y)} {
    for (const std::uint32_t b : members) {
        Rectangle r{};
        r.x[0] = edge(beamlets.x[b], -0.5 * beamlets.width_x);
        r.x[1] = edge(beamlets.x[b], 0.5 * beamlets.width_x);
        r.y[0] = edge(beamlets.y[b], -0.5 * beamlets.width_y);
        r.y[1] = edge(beamlets.y[b], 0.5 * beamlets.width_y);
        rectangle_.push_back(r);
        low_[0] = std::min(low_[0], r.x[0]);
        high_[0] = std::max(high_[0], r.x[1]);
        low_[1] = std::min(low_[1], r.y[0]);
        high_[1] = std::max(high_[1], r.y[1]);
    }
    for (std::size_t a = 0; a < 2; ++a) {
        constexpr float most_cells = 1000.0F;
        cells_[a] = 1 + static_cast<int>(std::min((high_[a] - low_[a]) / width_[a], most_cells));
    }
    std::vector<std::uint32_t> of(rectangle_.size());
    first_in_cell_.assign(static_cast<std::size_t>(cells_[0] * cells_[1]) + 1, 0);
    for (std::size_t b = 0; b < rectangle_.size(); ++b) {
        const int i = cell(0, 0.5F * (rectangle_[b].x[0] + rectangle_[b].x[1]));
        const int j = cell(1, 0.5F * (rectangle_[b].y[0] + rectangle_[b].y[1]));
        of[b] = static_cast<std::uint32_t>(j * cells_[0] + i);
        ++first_in_cell_[of[b] + 1];
    }
    for (std::size_t c = 1; c < first_in_cell_.size(); ++c) {
        first_in_cell_[c] += first_in_cell_[c - 1];
    }
    in_cell_.resize(rectangle_.size());
    std::vector<std::uint32_t> next = first_in_cell_;
    for (std::size_t b = 0; b < rectangle_.size(); ++b) {
        in_cell_[next[of[b]]++] = static_cast<std::uint32_t>(b);
    }
}

int BeamletShares::cell(std::size_t axis, float place) const {
    const float at = (place - low_[axis]) / width_[axis];
    const float last = static_cast<float>(cells_[axis] - 1);
    return static_cast<int>(std::min(std::max(at, 0.0F), last));
}

} // namespace brimstone::dose
