#include "dose/stencil.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace brimstone::dose {

namespace {

/// From a voxel against the direction in which energy comes to it.
Vec3 ray_direction(const Beam& beam, double polar, double azimuth, double pi) {
    const double sine = std::sin(pi - polar);
    return sine * std::cos(azimuth) * beam.x_axis + sine * std::sin(azimuth) * beam.y_axis +
           std::cos(pi - polar) * beam.axis;
}

Index3 lower_corner(const Vec3& voxels) {
    return {static_cast<int>(std::floor(voxels[0])), static_cast<int>(std::floor(voxels[1])),
            static_cast<int>(std::floor(voxels[2]))};
}

/// @param middle  of the step, in voxels
/// @param scale   from density to the length of half the step in cells of the kernel
RayStep make_step(const RowLayout& layout, const Vec3& middle, StepDensity density, float scale) {
    const Index3 lower = lower_corner(middle);
    RayStep step{};
    step.scale = scale;
    for (std::size_t c = 0; c < corners; ++c) {
        double weight = 1.0;
        for (std::size_t a = 0; a < 3; ++a) {
            const double share = middle[layout.axis[a]] - lower[layout.axis[a]];
            weight *= (c >> a & 1U) != 0 ? share : 1.0 - share;
        }
        step.weight[c] = static_cast<float>(weight);
    }
    const RowLayout::Place cell = layout.place(lower);
    std::copy(cell.row, cell.row + 2, step.row);
    step.lane = cell.lane;
    const double to_corner = density == StepDensity::nearest ? 0.5 : 0.0;
    const RowLayout::Place at = layout.place(lower_corner(middle + Vec3{to_corner, to_corner, to_corner}));
    std::copy(at.row, at.row + 2, step.density.row);
    step.density.lane = at.lane;
    return step;
}

} // namespace

Stencil::Stencil(const Grid& grid, const RowLayout& layout, const Beam& beam, const PolyKernel& kernel,
                 const Settings& settings, const std::function<double(const Vec3& direction)>& length_mm)
    : azimuths_(static_cast<std::size_t>(settings.azimuth)),
      step_mm_(settings.step_voxels * grid.smallest_edge()) {
    constexpr std::size_t most_steps = 5000;
    constexpr double cm_per_mm = 0.1;
    const auto scale = static_cast<float>(0.5 * cm_per_mm * step_mm_ / kernel.cell_width_cm());
    for (int cone = 0; cone < settings.polar; ++cone) {
        const double polar = kernel.angle_deg(static_cast<std::size_t>(cone)) * settings.pi / 180.0;
        for (int q = 0; q < settings.azimuth; ++q) {
            const double azimuth =
                (q + 0.5 + cone * settings.azimuth_turn) * 2.0 * settings.pi / settings.azimuth;
            const Vec3 ray = ray_direction(beam, polar, azimuth, settings.pi);
            const auto steps = static_cast<std::size_t>(std::ceil(length_mm(ray) / step_mm_ + 0.5));
            if (steps > most_steps) {
                throw std::invalid_argument(
                    "rays through the grid would have " + std::to_string(steps) + " steps of " +
                    std::to_string(step_mm_) + " mm, " + std::to_string(settings.step_voxels) +
                    " shortest voxel edges; 5000 at most are possible: take voxels with more even edges");
            }
            Vec3 half;
            for (std::size_t a = 0; a < 3; ++a) {
                half[a] = 0.5 * step_mm_ * ray[a] / grid.spacing[a];
            }
            const std::size_t near =
                settings.near_steps > 0 ? static_cast<std::size_t>(settings.near_steps) : steps;
            for (std::size_t s = 0; s < steps;) {
                const std::size_t size = s < near ? 1 : static_cast<std::size_t>(settings.far_step);
                step_.push_back(make_step(layout, static_cast<double>(2 * s + size) * half,
                                          settings.step_density, static_cast<float>(size) * scale));
                s += size;
            }
            first_.push_back(step_.size());
        }
    }
}

std::size_t Stencil::reach() const {
    int farthest = 0;
    for (const RayStep& step : step_) {
        farthest = std::max({farthest, std::abs(step.lane), std::abs(step.density.lane)});
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
