#pragma once

#include <vector>

#include "dose/grid.hpp"
#include "dose/vec3.hpp"

namespace brimstone::dose {

/// A source and its beam's eye view, a plane at the distance `sad` with the isocenter in its middle; mm.
struct Beam {
    Vec3 source;
    Vec3 x_axis; ///< of the beam's eye view
    Vec3 y_axis;
    Vec3 axis; ///< from the source to the isocenter
    double sad;

    Vec3 isocenter() const { return source + sad * axis; }
};

/// Equal rectangles in the beam's eye view, by their centers; mm.
struct Beamlets {
    std::vector<double> x;
    std::vector<double> y;
    double width_x;
    double width_y;

    std::size_t size() const { return x.size(); }
};

/// @throws std::invalid_argument  if the axes are not orthonormal, the isocenter lies outside the grid, or
/// the
///                                source in it or near it
void check(const Beam& beam, const Grid& grid);

/// @throws std::invalid_argument  if numbers are not finite, beamlets have no size, or none can be
///                                told from the direction of the axis
void check(const Beamlets& beamlets, const Beam& beam);

} // namespace brimstone::dose
