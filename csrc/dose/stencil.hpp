#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "dose/beam.hpp"
#include "dose/grid.hpp"
#include "dose/kernels/kernels.hpp"
#include "dose/poly_kernel.hpp"
#include "dose/row_layout.hpp"
#include "dose/settings.hpp"

namespace brimstone::dose {

/// The rays from a voxel to where its dose comes from: the same for every voxel of a beam.
class Stencil {
public:
    /// @param length_mm  how far a ray of this direction may matter
    Stencil(const Grid& grid, const RowLayout& layout, const Beam& beam, const PolyKernel& kernel,
            const Settings& settings, const std::function<double(const Vec3& direction)>& length_mm);

    std::size_t rays() const { return first_.size() - 1; }
    /// Length of a ray's first steps.
    double step_mm() const { return step_mm_; }
    /// Steps of all rays, one ray after the other.
    const std::vector<RayStep>& steps() const { return step_; }
    std::size_t first(std::size_t ray) const { return first_[ray]; }
    std::size_t end(std::size_t ray) const { return first_[ray + 1]; }
    std::size_t cone(std::size_t ray) const { return ray / azimuths_; }
    /// Largest number of lanes between a voxel and where one of its steps looks.
    std::size_t reach() const;

private:
    std::size_t azimuths_;
    double step_mm_;
    std::vector<std::size_t> first_{0};
    std::vector<RayStep> step_;
};

/// Where, seen from the voxel, the eight corners of a position's cell lie in rows and lanes.
struct Corner {
    int row[2];
    int lane;
};
std::array<Corner, corners> cell_corners(const RowLayout& layout);

} // namespace brimstone::dose
