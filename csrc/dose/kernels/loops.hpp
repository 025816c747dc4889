/// The kernels, written once. Included by one source file for each instruction set, which defines `Lanes`
/// before, and everything here has internal linkage: no other file may come to use a copy that its
/// processor cannot run.

#include <cstddef>
#include <cstdint>

#include "dose/kernels/kernels.hpp"

namespace brimstone::dose {
namespace {

void advance(const ConeKernel& cone, const float* density, float scale, std::size_t blocks, float* radius,
             float* last, float* part) {
    const Lanes all_scale = Lanes::broadcast(scale);
    const Lanes last_cell = Lanes::broadcast(cone.last_cell);
    for (std::size_t i = 0; i < blocks * lanes; i += lanes) {
        const Lanes half = Lanes::load(density + i) * all_scale;
        const Lanes middle = Lanes::load(radius + i) + half;
        (middle + half).store(radius + i);
        const Lanes reached = Lanes::look_up(cone.cell, Lanes::least(middle, last_cell));
        (reached - Lanes::load(last + i)).store(part + i);
        reached.store(last + i);
    }
}

void pass(const float* density, float scale, std::size_t blocks, float* radius) {
    const Lanes all_scale = Lanes::broadcast(scale);
    for (std::size_t i = 0; i < blocks * lanes; i += lanes) {
        const Lanes half = Lanes::load(density + i) * all_scale;
        const Lanes middle = Lanes::load(radius + i) + half;
        (middle + half).store(radius + i);
    }
}

/// TERMA at positions in cells with these corners.
inline Lanes interpolate(const float* const* corner, const Lanes* weight, std::size_t lane) {
    const Lanes lower =
        (weight[0] * Lanes::load(corner[0] + lane) + weight[1] * Lanes::load(corner[1] + lane)) +
        (weight[2] * Lanes::load(corner[2] + lane) + weight[3] * Lanes::load(corner[3] + lane));
    const Lanes upper =
        (weight[4] * Lanes::load(corner[4] + lane) + weight[5] * Lanes::load(corner[5] + lane)) +
        (weight[6] * Lanes::load(corner[6] + lane) + weight[7] * Lanes::load(corner[7] + lane));
    return lower + upper;
}

/// Ones, then zeros: what begins `lanes` − n before the middle keeps n lanes.
alignas(64) constexpr float ones_then_zeros[2 * lanes] = {1.0F, 1.0F, 1.0F, 1.0F, 1.0F, 1.0F, 1.0F, 1.0F,
                                                          1.0F, 1.0F, 1.0F, 1.0F, 1.0F, 1.0F, 1.0F, 1.0F};

inline void add_one_step(const float* const* corner, const float* weight, const float* part,
                         std::size_t count, float* dose) {
    Lanes all_weight[corners];
    for (std::size_t c = 0; c < corners; ++c) {
        all_weight[c] = Lanes::broadcast(weight[c]);
    }
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        (Lanes::load(dose + i) + Lanes::load(part + i) * interpolate(corner, all_weight, i)).store(dose + i);
    }
    if (i < count) {
        const Lanes kept = Lanes::load(ones_then_zeros + lanes - (count - i));
        const Lanes added = Lanes::load(part + i) * interpolate(corner, all_weight, i);
        (Lanes::load(dose + i) + kept * added).store(dose + i);
    }
}

void add_step(const float* const* corner, const float* weight, const float* part, std::size_t count,
              float* dose) {
    add_one_step(corner, weight, part, count, dose);
}

void add_hits(const Coupling& coupling, const Hit* hit, std::size_t count, float* dose) {
    for (const Hit* const end = hit + count; hit != end; ++hit) {
        const RayStep& step = coupling.step[hit->step];
        const CornerRows& rows = coupling.rows[hit->rows];
        const std::ptrdiff_t lane = std::ptrdiff_t{hit->lane} + coupling.first_lane + step.lane;
        const float* corner[corners];
        for (std::size_t c = 0; c < corners; ++c) {
            corner[c] = coupling.terma + (rows.start[c] + lane);
        }
        add_one_step(corner, step.weight, coupling.part + hit->step * coupling.part_stride + hit->lane,
                     hit->count, dose + hit->lane);
    }
}

inline void find_bounds(const Lanes& least, const Lanes& greatest, float& low, float& high) {
    alignas(64) float lane[lanes];
    least.store(lane);
    low = lane[0];
    for (const float l : lane) {
        low = l < low ? l : low;
    }
    greatest.store(lane);
    high = lane[0];
    for (const float l : lane) {
        high = l > high ? l : high;
    }
}

void project(const VoxelSamples& samples, float x, float y, float along, float sad, SeenSamples& seen) {
    const Lanes center[3] = {Lanes::broadcast(x), Lanes::broadcast(y), Lanes::broadcast(along)};
    const Lanes distance = Lanes::broadcast(sad);
    Lanes least[2];
    Lanes greatest[2];
    for (std::size_t i = 0; i < samples.count; i += lanes) {
        const Lanes scale = distance / (center[2] + Lanes::load(samples.along + i));
        const Lanes eye[2] = {scale * (center[0] + Lanes::load(samples.x + i)),
                              scale * (center[1] + Lanes::load(samples.y + i))};
        eye[0].store(seen.x + i);
        eye[1].store(seen.y + i);
        for (int a = 0; a < 2; ++a) {
            least[a] = i > 0 ? Lanes::least(least[a], eye[a]) : eye[a];
            greatest[a] = i > 0 ? Lanes::greatest(greatest[a], eye[a]) : eye[a];
        }
    }
    find_bounds(least[0], greatest[0], seen.x_low, seen.x_high);
    find_bounds(least[1], greatest[1], seen.y_low, seen.y_high);
}

inline std::uint32_t lies_inside(float x, float y, const float* x_edge, const float* y_edge) {
    return static_cast<std::uint32_t>((x >= x_edge[0]) & (x < x_edge[1]) & (y >= y_edge[0]) &
                                      (y < y_edge[1]));
}

std::uint32_t count_inside(const VoxelSamples& samples, const SeenSamples& seen, const float* x,
                           const float* y) {
    const float x_edge[2] = {x[0], x[1]};
    const float y_edge[2] = {y[0], y[1]};
    std::uint32_t inside = 0;
    for (std::size_t i = 0; i < samples.count; ++i) {
        inside += lies_inside(seen.x[i], seen.y[i], x_edge, y_edge);
    }
    return inside -
           static_cast<std::uint32_t>(samples.copies) * lies_inside(seen.x[0], seen.y[0], x_edge, y_edge);
}

constexpr Kernels kernels_named(const char* name) {
    return {name, advance, pass, add_hits, add_step, project, count_inside};
}

} // namespace
} // namespace brimstone::dose
