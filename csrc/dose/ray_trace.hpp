#pragma once

#include <cmath>
#include <limits>

#include "dose/grid.hpp"

namespace brimstone::dose {

/// The voxels that a ray passes, one after the other, by their borders along the three axes (Siddon, Med.
/// Phys. 12 (1985) 252; stepping as Amanatides and Woo, Eurographics 1987).
class VoxelWalk {
public:
    /// @param direction  of length 1
    VoxelWalk(const Grid& grid, const Vec3& from, const Vec3& direction, double farthest_mm)
        : end_(farthest_mm) {
        enter(grid, from, direction);
        if (at_ < end_) {
            start(grid, from, direction);
        }
    }

    bool inside() const { return at_ < end_; }
    std::ptrdiff_t number() const { return number_; }
    const Index3& voxel() const { return voxel_; }
    /// Distances from the ray's origin at which it enters and leaves the voxel.
    double enters() const { return at_; }
    double leaves() const { return std::fmax(at_, std::fmin(next_[nearest()], end_)); }

    void advance() {
        const std::size_t a = nearest();
        // Rounding must not let a ray walk on beyond the grid's last voxel.
        at_ = left_[a]-- > 0 ? std::fmax(at_, next_[a]) : end_;
        next_[a] += between_[a];
        voxel_[a] += sign_[a];
        number_ += stride_[a];
    }

private:
    std::size_t nearest() const {
        const std::size_t first = next_[0] <= next_[1] ? 0 : 1;
        return next_[first] <= next_[2] ? first : 2;
    }

    void enter(const Grid& grid, const Vec3& from, const Vec3& direction) {
        for (std::size_t a = 0; a < 3; ++a) {
            const double low = grid.origin[a] - 0.5 * grid.spacing[a] - from[a];
            const double high = low + grid.shape[a] * grid.spacing[a];
            if (std::fabs(direction[a]) < parallel) {
                if (low > 0.0 || high <= 0.0) {
                    end_ = -1.0;
                }
                continue;
            }
            at_ = std::fmax(at_, std::fmin(low / direction[a], high / direction[a]));
            end_ = std::fmin(end_, std::fmax(low / direction[a], high / direction[a]));
        }
    }

    void start(const Grid& grid, const Vec3& from, const Vec3& direction) {
        const std::array<std::ptrdiff_t, 3> strides = grid.strides();
        number_ = 0;
        for (std::size_t a = 0; a < 3; ++a) {
            const double low = grid.origin[a] - 0.5 * grid.spacing[a];
            const double place = (from[a] + at_ * direction[a] - low) / grid.spacing[a];
            const double last = grid.shape[a] - 1;
            voxel_[a] = static_cast<int>(std::fmin(std::fmax(std::floor(place), 0.0), last));
            const bool rising = direction[a] > 0.0;
            sign_[a] = rising ? 1 : -1;
            stride_[a] = sign_[a] * strides[a];
            left_[a] = rising ? grid.shape[a] - 1 - voxel_[a] : voxel_[a];
            number_ += voxel_[a] * strides[a];
            if (std::fabs(direction[a]) < parallel) {
                next_[a] = between_[a] = std::numeric_limits<double>::infinity();
            } else {
                between_[a] = grid.spacing[a] / std::fabs(direction[a]);
                next_[a] = (low + (voxel_[a] + (rising ? 1 : 0)) * grid.spacing[a] - from[a]) / direction[a];
            }
        }
    }

    static constexpr double parallel = 1e-9;

    double at_ = 0.0;
    double end_;
    Vec3 next_{};
    Vec3 between_{};
    Index3 voxel_{};
    std::array<int, 3> sign_{};
    std::array<int, 3> left_{}; ///< voxels ahead along each axis
    std::array<std::ptrdiff_t, 3> stride_{};
    std::ptrdiff_t number_ = 0;
};

} // namespace brimstone::dose
