#include "brimstone/gamma/gamma.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "brimstone/gamma/cell.hpp"
#include "brimstone/support/parallel.hpp"

namespace brimstone {

namespace {

using Vector = GammaCell::Vector;
using Index = std::array<std::ptrdiff_t, 3>;

/// Looks for the lowest gamma of one point of the reference.
class PointSearch {
public:
    PointSearch(const DoseGrid& evaluation, const Vector& point, double dose, double dose_criterion,
                const GammaCriteria& criteria)
        : grid_(evaluation), point_(point), dose_(dose), dose_criterion_(dose_criterion),
          distance_(criteria.distance), best_(criteria.highest * criteria.highest) {
        for (std::size_t axis = 0; axis < 3; ++axis) {
            const auto last_cell =
                std::max<std::ptrdiff_t>(static_cast<std::ptrdiff_t>(grid_.shape[axis]) - 2, 0);
            const double place = std::floor((point[axis] - grid_.origin[axis]) / grid_.spacing[axis]);
            last_[axis] = last_cell;
            center_[axis] =
                static_cast<std::ptrdiff_t>(std::clamp(place, 0.0, static_cast<double>(last_cell)));
        }
    }

    double gamma() {
        const std::ptrdiff_t rings = *std::max_element(last_.begin(), last_.end());
        for (std::ptrdiff_t ring = 0; ring <= rings && ring_may_gain(ring); ++ring) {
            visit_ring(ring);
        }
        return std::sqrt(best_);
    }

private:
    /// Distance from the point to a cell along an axis, in units of the criterion.
    double distance(std::size_t axis, std::ptrdiff_t cell) const {
        const double low = low_side(axis, cell);
        return std::max({low, -(low + width(axis)), 0.0});
    }
    double low_side(std::size_t axis, std::ptrdiff_t cell) const {
        return (grid_.origin[axis] + static_cast<double>(cell) * grid_.spacing[axis] - point_[axis]) /
               distance_;
    }
    double width(std::size_t axis) const {
        return grid_.shape[axis] > 1 ? grid_.spacing[axis] / distance_ : 0.0;
    }

    /// Whether some cell that many cells away along some axis is within reach.
    bool ring_may_gain(std::ptrdiff_t ring) const {
        double nearest = std::numeric_limits<double>::infinity();
        for (std::size_t axis = 0; axis < 3; ++axis) {
            for (const std::ptrdiff_t cell : {center_[axis] - ring, center_[axis] + ring}) {
                if (cell >= 0 && cell <= last_[axis]) {
                    nearest = std::min(nearest, distance(axis, cell));
                }
            }
        }
        return nearest * nearest < best_;
    }

    void visit_ring(std::ptrdiff_t ring) {
        const auto first = [&](std::size_t axis) {
            return std::max<std::ptrdiff_t>(center_[axis] - ring, 0);
        };
        const auto end = [&](std::size_t axis) { return std::min(center_[axis] + ring, last_[axis]); };
        for (std::ptrdiff_t x = first(0); x <= end(0); ++x) {
            const double along_x = distance(0, x);
            if (along_x * along_x >= best_) {
                continue;
            }
            const bool x_in_ring = std::abs(x - center_[0]) == ring;
            for (std::ptrdiff_t y = first(1); y <= end(1); ++y) {
                const double along_y = distance(1, y);
                if (along_x * along_x + along_y * along_y >= best_) {
                    continue;
                }
                const bool whole = x_in_ring || std::abs(y - center_[1]) == ring;
                const std::ptrdiff_t step = whole || ring == 0 ? 1 : 2 * ring;
                for (std::ptrdiff_t z = center_[2] - ring; z <= center_[2] + ring; z += step) {
                    if (z >= 0 && z <= last_[2]) {
                        visit({x, y, z});
                    }
                }
            }
        }
    }

    void visit(const Index& cell) {
        Vector low{};
        Vector widths{};
        double squared = 0.0;
        for (std::size_t axis = 0; axis < 3; ++axis) {
            low[axis] = low_side(axis, cell[axis]);
            widths[axis] = width(axis);
            const double nearest = distance(axis, cell[axis]);
            squared += nearest * nearest;
        }
        if (squared >= best_) {
            return;
        }
        const GammaCell seen(low, widths, corners(cell));
        if (seen.bound() < best_) {
            best_ = seen.minimum(best_);
        }
    }

    std::array<double, 8> corners(const Index& cell) const {
        std::array<std::size_t, 3> step{grid_.shape[1] * grid_.shape[2], grid_.shape[2], 1};
        std::size_t at = 0;
        for (std::size_t axis = 0; axis < 3; ++axis) {
            at += static_cast<std::size_t>(cell[axis]) * step[axis];
            step[axis] = grid_.shape[axis] > 1 ? step[axis] : 0;
        }
        std::array<double, 8> corner{};
        for (std::size_t i = 0; i < 8; ++i) {
            const std::size_t offset = (i >> 2) * step[0] + ((i >> 1) & 1) * step[1] + (i & 1) * step[2];
            corner[i] = (grid_.dose[at + offset] - dose_) / dose_criterion_;
        }
        return corner;
    }

    const DoseGrid& grid_;
    Vector point_;
    double dose_;
    double dose_criterion_;
    double distance_;
    double best_;
    Index last_{};
    Index center_{};
};

} // namespace

std::vector<double> gamma(const DoseGrid& reference, const DoseGrid& evaluation,
                          const GammaCriteria& criteria, int threads) {
    const std::array<std::size_t, 3>& shape = reference.shape;
    std::vector<double> result(shape[0] * shape[1] * shape[2], std::numeric_limits<double>::quiet_NaN());
    parallel_for(shape[0] * shape[1], threads, [&](std::size_t line) {
        const std::array<std::size_t, 2> xy{line / shape[1], line % shape[1]};
        Vector point{};
        for (std::size_t axis = 0; axis < 2; ++axis) {
            point[axis] = reference.origin[axis] + static_cast<double>(xy[axis]) * reference.spacing[axis];
        }
        for (std::size_t z = 0; z < shape[2]; ++z) {
            const std::size_t voxel = line * shape[2] + z;
            const double dose = reference.dose[voxel];
            if (!(dose >= criteria.threshold)) {
                continue;
            }
            point[2] = reference.origin[2] + static_cast<double>(z) * reference.spacing[2];
            const double dose_criterion = criteria.local ? criteria.dose * dose : criteria.dose;
            result[voxel] = PointSearch(evaluation, point, dose, dose_criterion, criteria).gamma();
        }
    });
    return result;
}

} // namespace brimstone
