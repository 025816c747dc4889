#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "dose/beam.hpp"
#include "dose/grid.hpp"
#include "dose/kernels/kernels.hpp"
#include "dose/settings.hpp"

namespace brimstone::dose {

/// Positions and sizes of a beam's voxels in its eye view.
class EyeView {
public:
    EyeView(const Grid& grid, const Beam& beam, const Settings& settings);

    /// A voxel's center along the axes of the eye view and the beam's axis, seen from the source.
    Vec3 place(const Index3& voxel) const {
        const Vec3 seen = grid_.center(voxel) - beam_.source;
        return {dot(seen, beam_.x_axis), dot(seen, beam_.y_axis), dot(seen, beam_.axis)};
    }
    /// Voxels [first, last) of a line along the second axis of the image whose samples may lie in a
    /// rectangle.
    std::pair<int, int> lines_part(int x, int z, const float* low, const float* high) const;

    const VoxelSamples& samples() const { return *samples_; }
    float sad() const { return static_cast<float>(beam_.sad); }

private:
    Grid grid_;
    Beam beam_;
    double voxel_radius_;
    std::shared_ptr<VoxelSamples> samples_;
};

/// A part of a voxel that lies in a beamlet.
struct VoxelShare {
    std::uint32_t beamlet;
    std::int32_t voxel[3];
    float share;
};

/// Finds which parts of voxels lie in which beamlet by samples inside them. Beamlets have their lower edges
/// and not their upper ones, so that a sample lies in one of two neighbors, never in both or in none.
class BeamletShares {
public:
    BeamletShares(const Beamlets& beamlets, const std::vector<std::uint32_t>& members);

    /// Calls `found(VoxelShare)` for the slice `z` of the grid, x after x, along y: the order of OpenTPS's
    /// program.
    template <class Found>
    void of_slice(const Grid& grid, const EyeView& view, int z, const Kernels& kernels, Found&& found) const;

    const float* low() const { return low_; }
    const float* high() const { return high_; }

private:
    struct Rectangle {
        float x[2];
        float y[2];
    };
    int cell(std::size_t axis, float place) const;

    std::vector<Rectangle> rectangle_;
    float low_[2];
    float high_[2];
    float width_[2];
    int cells_[2];
    std::vector<std::uint32_t> first_in_cell_;
    std::vector<std::uint32_t> in_cell_;
};

template <class Found>
void BeamletShares::of_slice(const Grid& grid, const EyeView& view, int z, const Kernels& kernels,
                             Found&& found) const {
    SeenSamples seen;
    const VoxelSamples& samples = view.samples();
    const auto count = static_cast<float>(samples.count - samples.copies);
    for (int x = 0; x < grid.shape[0]; ++x) {
        const auto [first, last] = view.lines_part(x, z, low_, high_);
        for (int y = first; y < last; ++y) {
            const Vec3 at = view.place({x, y, z});
            kernels.project(samples, static_cast<float>(at[0]), static_cast<float>(at[1]),
                            static_cast<float>(at[2]), view.sad(), seen);
            const int j_end = cell(1, seen.y_high + 0.5F * width_[1]);
            const int i_end = cell(0, seen.x_high + 0.5F * width_[0]);
            for (int j = cell(1, seen.y_low - 0.5F * width_[1]); j <= j_end; ++j) {
                for (int i = cell(0, seen.x_low - 0.5F * width_[0]); i <= i_end; ++i) {
                    const auto c = static_cast<std::size_t>(j * cells_[0] + i);
                    for (std::uint32_t k = first_in_cell_[c]; k < first_in_cell_[c + 1]; ++k) {
                        const Rectangle& rectangle = rectangle_[in_cell_[k]];
                        if (seen.x_high < rectangle.x[0] || seen.x_low >= rectangle.x[1] ||
                            seen.y_high < rectangle.y[0] || seen.y_low >= rectangle.y[1]) {
                            continue;
                        }
                        const std::uint32_t inside =
                            kernels.count_inside(samples, seen, rectangle.x, rectangle.y);
                        if (inside > 0) {
                            found(VoxelShare{in_cell_[k], {x, y, z}, static_cast<float>(inside) / count});
                        }
                    }
                }
            }
        }
    }
}

} // namespace brimstone::dose
