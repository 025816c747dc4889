#pragma once

#include <cstddef>
#include <cstdint>

namespace brimstone::dose {

/// Lanes that are worked on at once: neighbors along a row of voxels.
constexpr std::size_t lanes = 16;

/// The cumulative kernel in one cell: at its lower border, and how much it rises.
struct KernelCell {
    float value;
    float rise;
};

/// One cone's kernel, for distances in units of the width of a cell.
struct ConeKernel {
    const KernelCell* cell;
    float last_cell;
};

/// Corners of the cell of the grid that a position lies in, and how much each counts.
constexpr std::size_t corners = 8;

/// One step of a ray, the same for all voxels: where its position lies, seen from the voxel.
struct RayStep {
    float weight[corners];
    std::int32_t row[2]; ///< of the cell's lower corner, in rows
    std::int32_t lane;   ///< and along the row
    struct Density {
        std::int32_t row[2];
        std::int32_t lane;
    } density;   ///< the voxel whose density the step has
    float scale; ///< from this density to the length of half a step in cells of the kernel
};

/// Positions whose cells begin in one row: rows of TERMA at the eight corners of these cells, at lane 0.
struct CornerRows {
    std::int32_t start[corners];
};

/// Voxels of a row that get dose through one step of a ray.
struct Hit {
    std::uint32_t step;
    std::uint32_t rows; ///< which `CornerRows`
    std::int32_t lane;  ///< first voxel, counted from the first one of the row that is computed
    std::uint32_t count;
};

/// A beamlet's TERMA and the kernel's parts along a row of voxels.
struct Coupling {
    const float* terma;
    const CornerRows* rows;
    const RayStep* step;
    const float* part; ///< of the kernel: [step][lane]
    std::size_t part_stride;
    std::int32_t first_lane;
};

/// How far samples inside a voxel lie from its center along the axes of the beam's eye view and the beam's
/// axis.
struct VoxelSamples {
    static constexpr std::size_t most = 736; ///< 9³ in whole lanes
    alignas(64) float x[most];
    alignas(64) float y[most];
    alignas(64) float along[most];
    std::size_t count; ///< in whole lanes, filled up with copies of the first
    std::size_t copies;
};

/// Where they lie in the beam's eye view, and in which rectangle.
struct SeenSamples {
    alignas(64) float x[VoxelSamples::most];
    alignas(64) float y[VoxelSamples::most];
    float x_low;
    float x_high;
    float y_low;
    float y_high;
};

/// The loops that take nearly all the time, compiled once for each instruction set. All versions do the same
/// operations in the same order, without contraction, and give bitwise the same result.
struct Kernels {
    const char* name;

    /// One step of a row of rays: `radius` grows by `density` times `scale` twice, and `part` is the kernel
    /// between the middle of the step before, where it was `last`, and the middle of this one.
    void (*advance)(const ConeKernel& cone, const float* density, float scale, std::size_t blocks,
                    float* radius, float* last, float* part);

    /// One step of a row of rays at which the kernel is not asked for.
    void (*pass)(const float* density, float scale, std::size_t blocks, float* radius);

    /// dose += TERMA at the hits, each with its part of the kernel.
    void (*add_hits)(const Coupling& coupling, const Hit* hit, std::size_t count, float* dose);

    /// dose += part times TERMA at one step for a row, from rows of one dense grid.
    void (*add_step)(const float* const* corner, const float* weight, const float* part, std::size_t count,
                     float* dose);

    /// Samples of a voxel in the beam's eye view.
    void (*project)(const VoxelSamples& samples, float x, float y, float along, float sad, SeenSamples& seen);

    /// How many samples lie inside [x[0], x[1]) × [y[0], y[1]).
    std::uint32_t (*count_inside)(const VoxelSamples& samples, const SeenSamples& seen, const float* x,
                                  const float* y);
};

/// The version for the vector path that `brimstone::use_kernels` has chosen.
const Kernels& kernels();

} // namespace brimstone::dose
