#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <utility>

namespace brimstone {

/// The box between eight neighboring nodes of a dose grid, seen from a point of the reference. Lengths are in
/// units of the distance criterion and from the point, doses in units of the dose criterion and from the
/// point's.
class GammaCell {
public:
    using Vector = std::array<double, 3>;

    /// @param corner  index 4 x + 2 y + z, with x, y, z 0 at the low side
    GammaCell(const Vector& low, const Vector& width, const std::array<double, 8>& corner)
        : low_(low), width_(width), corner_(corner) {}

    /// γ² below which no point of the cell lies.
    double bound() const {
        double squared = 0.0;
        for (std::size_t axis = 0; axis < 3; ++axis) {
            const double nearest = std::clamp(0.0, low_[axis], low_[axis] + width_[axis]);
            squared += nearest * nearest;
        }
        const auto [lowest, highest] = std::minmax_element(corner_.begin(), corner_.end());
        const double gap = std::clamp(0.0, *lowest, *highest);
        return squared + gap * gap;
    }

    /// The lower of a γ² that is known and the cell's lowest. A cell whose dose is far from linear is halved,
    /// as long as that could matter; the interpolation in a half is that of the whole.
    double minimum(double known, int halvings = 9) const {
        const std::size_t axis = most_curved_axis();
        if (halvings == 0 || curvature(axis) <= straight) {
            return std::min(known, minimum_by_tangents());
        }
        std::array<GammaCell, 2> half{halved(axis, 0), halved(axis, 1)};
        if (half[1].bound() < half[0].bound()) {
            std::swap(half[0], half[1]);
        }
        for (const GammaCell& part : half) {
            if (part.bound() < known) {
                known = part.minimum(known, halvings - 1);
            }
        }
        return known;
    }

private:
    /// Doses whose rises along an axis differ by less, in units of the criterion, count as linear.
    static constexpr double straight = 0.5;

    /// Difference between the dose's rises along an axis at the cell's edges.
    double curvature(std::size_t axis) const {
        const std::size_t step = std::size_t{4} >> axis;
        double lowest = HUGE_VAL;
        double highest = -HUGE_VAL;
        for (std::size_t i = 0; i < 8; ++i) {
            if ((i & step) == 0) {
                const double rise = corner_[i + step] - corner_[i];
                lowest = std::min(lowest, rise);
                highest = std::max(highest, rise);
            }
        }
        return highest - lowest;
    }

    std::size_t most_curved_axis() const {
        std::size_t most = 0;
        for (std::size_t axis = 1; axis < 3; ++axis) {
            most = curvature(axis) > curvature(most) ? axis : most;
        }
        return most;
    }

    GammaCell halved(std::size_t axis, std::size_t side) const {
        GammaCell half = *this;
        const std::size_t step = std::size_t{4} >> axis;
        half.width_[axis] *= 0.5;
        half.low_[axis] += static_cast<double>(side) * half.width_[axis];
        for (std::size_t i = 0; i < 8; ++i) {
            if ((i & step) == 0) {
                half.corner_[i + (1 - side) * step] = 0.5 * (corner_[i] + corner_[i + step]);
            }
        }
        return half;
    }

    /// Lowest γ² by minima for the dose's tangents, which are exact for a dose that is linear in the cell.
    double minimum_by_tangents() const {
        Vector at{};
        for (std::size_t axis = 0; axis < 3; ++axis) {
            at[axis] = std::clamp(0.0, low_[axis], low_[axis] + width_[axis]);
        }
        constexpr int tangents = 8;
        constexpr double settled = 1e-9;
        double lowest = HUGE_VAL;
        for (int i = 0; i < tangents; ++i) {
            const Tangent tangent = tangent_at(at);
            const double here = squared_length(at) + tangent.dose * tangent.dose;
            const bool gained = here < lowest - settled;
            lowest = std::min(lowest, here);
            if (!gained) {
                break;
            }
            at = nearest_of_tangent(at, tangent);
        }
        return lowest;
    }

    struct Tangent {
        double dose;
        Vector slope;
    };

    static double squared_length(const Vector& v) { return v[0] * v[0] + v[1] * v[1] + v[2] * v[2]; }

    Tangent tangent_at(const Vector& at) const {
        Vector t{};
        for (std::size_t axis = 0; axis < 3; ++axis) {
            t[axis] = width_[axis] > 0.0 ? (at[axis] - low_[axis]) / width_[axis] : 0.0;
        }
        const auto& c = corner_;
        std::array<double, 4> z{}; // interpolated along z, index 2 x + y
        std::array<double, 4> dz{};
        for (std::size_t i = 0; i < 4; ++i) {
            dz[i] = c[2 * i + 1] - c[2 * i];
            z[i] = c[2 * i] + t[2] * dz[i];
        }
        const std::array<double, 2> dy{z[1] - z[0], z[3] - z[2]};
        const std::array<double, 2> y{z[0] + t[1] * dy[0], z[2] + t[1] * dy[1]};
        const double along_y = dy[0] + t[0] * (dy[1] - dy[0]);
        const std::array<double, 2> dzy{dz[0] + t[1] * (dz[1] - dz[0]), dz[2] + t[1] * (dz[3] - dz[2])};
        const double along_z = dzy[0] + t[0] * (dzy[1] - dzy[0]);
        const Vector rise{y[1] - y[0], along_y, along_z};
        Tangent tangent{y[0] + t[0] * rise[0], {}};
        for (std::size_t axis = 0; axis < 3; ++axis) {
            tangent.slope[axis] = width_[axis] > 0.0 ? rise[axis] / width_[axis] : 0.0;
        }
        return tangent;
    }

    /// The point of the box with the least |s|² + (c + g·s)²: s = clamp(−λ g) where λ = c + g·s. The
    /// difference of both sides rises with λ in straight pieces; its zero is found by Newton's method between
    /// bounds.
    Vector nearest_of_tangent(const Vector& at, const Tangent& tangent) const {
        const Vector& g = tangent.slope;
        const double c = tangent.dose - g[0] * at[0] - g[1] * at[1] - g[2] * at[2];
        double lowest = -HUGE_VAL;
        double highest = HUGE_VAL;
        double lambda = tangent.dose;
        Vector s = at;
        constexpr int steps = 40;
        for (int i = 0; i < steps; ++i) {
            double value = lambda - c;
            double rise = 1.0;
            for (std::size_t axis = 0; axis < 3; ++axis) {
                const double free = -lambda * g[axis];
                s[axis] = std::clamp(free, low_[axis], low_[axis] + width_[axis]);
                value -= g[axis] * s[axis];
                rise += s[axis] == free ? g[axis] * g[axis] : 0.0;
            }
            (value < 0.0 ? lowest : highest) = lambda;
            double next = lambda - value / rise;
            if (std::fabs(next - lambda) <= 1e-12 * (1.0 + std::fabs(lambda))) {
                break;
            }
            if (!(next > lowest && next < highest)) {
                next = 0.5 * (lowest + highest);
            }
            lambda = next;
        }
        return s;
    }

    Vector low_;
    Vector width_;
    std::array<double, 8> corner_;
};

} // namespace brimstone
