#include "dose/stencil.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace brimstone::dose {

namespace {

/// From a voxel against the direction in which energy comes to it.
Vec3 ray_direction(const Beam& beam, double polar, double azimuth, double pi) {
    const double sine = std::sin(pi - polar);
    return sine * std::cos(azimuth) * beam.x_axis + sine * std::sin(azimuth) * beam.y_axis +
           std::cos(pi - polar) * beam.axis;
}

RayStep make_step(const RowLayout& layout, const Vec3& voxels, StepDensity density) {
    Index3 lower;
    Index3 looked_up;
    Vec3 part;
    for (std::size_t a = 0; a < 3; ++a) {
        lower[a] = static_cast<int>(std::floor(voxels[a]));
        part[a] = voxels[a] - lower[a];
        looked_up[a] =
            density == StepDensity::nearest ? static_cast<int>(std::floor(voxels[a] + 0.5)) : lower[a];
    }
    RayStep step{};
    for (std::size_t c = 0; c < corners; ++c) {
        double weight = 1.0;
        for (std::size_t a = 0; a < 3; ++a) {
            const double share = part[layout.axis[a]];
            weight *= (c >> a & 1U) != 0 ? share : 1.0 - share;
        }
        step.weight[c] = static_cast<float>(weight);
    }
    const RowLayout::Place cell = layout.place(lower);
    const RowLayout::Place looked = layout.place(looked_up);
    std::copy(cell.row, cell.row + 2, step.row);
    std::copy(looked.row, looked.row + 2, step.density_row);
    step.lane = cell.lane;
    step.density_lane = looked.lane;
    return step;
}

} // namespace

Stencil::Stencil(const Grid& grid, const RowLayout& layout, const Beam& beam, const PolyKernel& kernel,
                 const Settings& settings, const std::function<double(const Vec3& direction)>& length_mm)
    : azimuths_(static_cast<std::size_t>(settings.azimuth)),
      step_mm_(settings.step_voxels * grid.smallest_edge()) {
    for (int cone = 0; cone < settings.polar; ++cone) {
        const double polar = kernel.angle_deg(static_cast<std::size_t>(cone)) * settings.pi / 180.0;
        for (int q = 0; q < settings.azimuth; ++q) {
            const double azimuth = (q + 0.5) * 2.0 * settings.pi / settings.azimuth;
            const Vec3 ray = ray_direction(beam, polar, azimuth, settings.pi);
            const auto steps = static_cast<std::size_t>(std::ceil(length_mm(ray) / step_mm_ + 0.5));
            for (std::size_t s = 0; s < steps; ++s) {
                Vec3 voxels;
                for (std::size_t a = 0; a < 3; ++a) {
                    voxels[a] = (static_cast<double>(s) + 0.5) * step_mm_ * ray[a] / grid.spacing[a];
                }
                step_.push_back(make_step(layout, voxels, settings.step_density));
            }
            first_.push_back(step_.size());
        }
    }
}

std::size_t Stencil::reach() const {
    int farthest = 0;
    for (const RayStep& step : step_) {
        farthest = std::max({farthest, std::abs(step.lane), std::abs(step.density_lane)});
    }
    return static_cast<std::size_t>(farthest) + 2;
}

std::array<Corner, corners> cell_corners(const RowLayout& layout) {
    std::array<Corner, corners> result;
    for (std::size_t c = 0; c < corners; ++c) {
        const int along = static_cast<int>(c & 1U);
        result[c].lane = along;
        for (std::size_t which = 0; which < 2; ++which) {
            const int across = static_cast<int>(c >> (which + 1) & 1U);
            result[c].row[which] = across - layout.slope[which] * along;
        }
    }
    return result;
}

} // namespace brimstone::dose
