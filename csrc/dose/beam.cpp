#include "dose/beam.hpp"

#include <stdexcept>
#include <string>

namespace brimstone::dose {

namespace {

std::string text(const Vec3& v) {
    return "(" + std::to_string(v[0]) + ", " + std::to_string(v[1]) + ", " + std::to_string(v[2]) + ")";
}

bool near(double a, double b) {
    constexpr double tolerance = 1e-5; // axes may have been written with six digits
    return std::fabs(a - b) <= tolerance;
}

bool right_handed(const Beam& beam) {
    const Vec3 normal = cross(beam.x_axis, beam.y_axis);
    return near(dot(beam.x_axis, beam.x_axis), 1.0) && near(dot(beam.y_axis, beam.y_axis), 1.0) &&
           near(dot(beam.axis, beam.axis), 1.0) && near(std::fabs(dot(normal, beam.axis)), 1.0);
}

/// Distance from a point to the grid along its axes; 0 inside.
double distance_to(const Grid& grid, const Vec3& point) {
    Vec3 beside{};
    for (std::size_t a = 0; a < 3; ++a) {
        const double low = grid.origin[a] - 0.5 * grid.spacing[a];
        const double high = grid.origin[a] + (grid.shape[a] - 0.5) * grid.spacing[a];
        beside[a] = std::fmax(0.0, std::fmax(low - point[a], point[a] - high));
    }
    return length(beside);
}

} // namespace

void check(const Beam& beam, const Grid& grid) {
    constexpr double nearest_mm = 50.0;
    if (!right_handed(beam)) {
        throw std::invalid_argument("the axes of the beam's eye view " + text(beam.x_axis) + ", " +
                                    text(beam.y_axis) + " and the beam's axis " + text(beam.axis) +
                                    " must be unit vectors at right angles");
    }
    if (!(beam.sad >= 100.0 && beam.sad <= 1e4)) {
        throw std::invalid_argument("the source-axis distance is " + std::to_string(beam.sad) +
                                    " mm; it must lie between 100 and 10000");
    }
    if (!(distance_to(grid, beam.isocenter()) <= 0.0)) {
        throw std::invalid_argument("the isocenter " + text(beam.isocenter()) +
                                    " mm lies outside the density grid");
    }
    if (!(distance_to(grid, beam.source) >= nearest_mm)) {
        throw std::invalid_argument("the source " + text(beam.source) + " mm is " +
                                    std::to_string(distance_to(grid, beam.source)) +
                                    " mm away from the density grid; it must be 50 mm or more");
    }
}

void check(const Beamlets& beamlets, const Beam& beam) {
    if (beamlets.x.size() != beamlets.y.size()) {
        throw std::invalid_argument("there are " + std::to_string(beamlets.x.size()) + " x and " +
                                    std::to_string(beamlets.y.size()) + " y of beamlets");
    }
    const double farthest = beam.sad;
    if (!(beamlets.width_x >= 0.1 && beamlets.width_y >= 0.1 && beamlets.width_x <= farthest &&
          beamlets.width_y <= farthest)) {
        throw std::invalid_argument(
            "beamlets are " + std::to_string(beamlets.width_x) + " x " + std::to_string(beamlets.width_y) +
            " mm; sides must be 0.1 mm or more, and the source-axis distance at most");
    }
    for (std::size_t b = 0; b < beamlets.size(); ++b) {
        if (!(std::fabs(beamlets.x[b]) <= farthest && std::fabs(beamlets.y[b]) <= farthest)) {
            throw std::invalid_argument("beamlet " + std::to_string(b) + " lies at (" +
                                        std::to_string(beamlets.x[b]) + ", " + std::to_string(beamlets.y[b]) +
                                        ") mm; it must be within the source-axis distance of the axis");
        }
    }
}

} // namespace brimstone::dose
