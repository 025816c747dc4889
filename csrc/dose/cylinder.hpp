#pragma once

#include <cmath>
#include <utility>

#include "dose/beam.hpp"

namespace brimstone::dose {

/// The cylinder round a beamlet's axis in which it gives dose.
class Cylinder {
public:
    /// The radius as OpenTPS's program has it: the beamlet's diagonal as large as it is at the farthest
    /// corner of the grid, and the reach of scatter, added in squares.
    Cylinder(const Beam& beam, double x, double y, double width_x, double width_y, double farthest_mm,
             double reach_mm)
        : source_(beam.source) {
        const double opening = std::hypot(width_x, width_y) * farthest_mm / beam.sad;
        square_ = opening * opening + reach_mm * reach_mm;
        const Vec3 axis = x * beam.x_axis + y * beam.y_axis + beam.sad * beam.axis;
        axis_ = (1.0 / length(axis)) * axis;
    }

    const Vec3& source() const { return source_; }
    const Vec3& axis() const { return axis_; }
    double radius() const { return std::sqrt(square_); }

    /// Where a line is inside: t from the first to the second for positions `from` + t · `step`.
    std::pair<double, double> part_of_line(const Vec3& from, const Vec3& step) const {
        const Vec3 seen = from - source_;
        const double seen_along = dot(seen, axis_);
        const double step_along = dot(step, axis_);
        const double a = dot(step, step) - step_along * step_along;
        const double b = dot(seen, step) - seen_along * step_along;
        const double c = dot(seen, seen) - seen_along * seen_along - square_;
        if (a < 1e-9 * dot(step, step)) {
            return c <= 0.0 ? std::pair{-1e9, 1e9} : std::pair{1.0, 0.0};
        }
        const double inside = b * b - a * c;
        if (inside < 0.0) {
            return {1.0, 0.0};
        }
        const double half = std::sqrt(inside);
        return {(-b - half) / a, (-b + half) / a};
    }

private:
    Vec3 source_;
    Vec3 axis_;
    double square_;
};

} // namespace brimstone::dose
