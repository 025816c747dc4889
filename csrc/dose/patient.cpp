#include "dose/patient.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

namespace brimstone::dose {

namespace {

constexpr std::uint8_t outside = 4;

void check_densities(const Grid& grid, const std::vector<float>& density) {
    if (density.size() != grid.voxels()) {
        throw std::invalid_argument("there are " + std::to_string(density.size()) + " densities for " +
                                    std::to_string(grid.voxels()) + " voxels");
    }
    constexpr float largest = 100.0F;
    const auto wrong = std::find_if(density.begin(), density.end(),
                                    [](float value) { return !(value >= 0.0F && value <= largest); });
    if (wrong != density.end()) {
        const auto number = static_cast<int>(wrong - density.begin());
        const int plane = grid.shape[1] * grid.shape[2];
        throw std::invalid_argument(
            "the density at voxel [" + std::to_string(number / plane) + ", " +
            std::to_string(number % plane / grid.shape[2]) + ", " + std::to_string(number % grid.shape[2]) +
            "] is " + std::to_string(*wrong) + " g/cm3; densities must be finite, from 0 to 100");
    }
}

/// Marks air that is connected to the sides of one slice. Air in a windpipe is not, though it may leave the
/// grid with the last slice.
class SliceFlood {
public:
    SliceFlood(const Grid& grid, const std::vector<float>& density, float air_density, std::uint8_t* flag)
        : grid_(grid), density_(density), air_density_(air_density), flag_(flag) {}

    void fill(int z) {
        for (int x = 0; x < grid_.shape[0]; ++x) {
            visit({x, 0, z});
            visit({x, grid_.shape[1] - 1, z});
        }
        for (int y = 0; y < grid_.shape[1]; ++y) {
            visit({0, y, z});
            visit({grid_.shape[0] - 1, y, z});
        }
        while (!waiting_.empty()) {
            const Index3 at = waiting_.back();
            waiting_.pop_back();
            visit({at[0] - 1, at[1], z});
            visit({at[0] + 1, at[1], z});
            visit({at[0], at[1] - 1, z});
            visit({at[0], at[1] + 1, z});
        }
    }

private:
    void visit(const Index3& at) {
        if (at[0] < 0 || at[0] >= grid_.shape[0] || at[1] < 0 || at[1] >= grid_.shape[1]) {
            return;
        }
        const std::size_t number = grid_.number(at);
        if (flag_[number] != outside && density_[number] < air_density_) {
            flag_[number] = outside;
            waiting_.push_back(at);
        }
    }

    const Grid& grid_;
    const std::vector<float>& density_;
    float air_density_;
    std::uint8_t* flag_;
    std::vector<Index3> waiting_;
};

/// Spreads a flag to neighbors up to some voxels away along one axis.
void spread(const Grid& grid, std::size_t axis, int reach, std::vector<std::uint8_t>& flag) {
    const auto stride = static_cast<std::size_t>(grid.strides()[axis]);
    const auto count = static_cast<std::size_t>(grid.shape[axis]);
    std::vector<std::uint8_t> line(count);
    for (std::size_t block = 0; block < flag.size(); block += stride * count) {
        for (std::size_t within = 0; within < stride; ++within) {
            std::uint8_t* const first = flag.data() + block + within;
            int since = reach + 1;
            for (std::size_t i = 0; i < count; ++i) {
                since = first[i * stride] != 0 ? 0 : since + 1;
                line[i] = static_cast<std::uint8_t>(since <= reach);
            }
            since = reach + 1;
            for (std::size_t i = count; i-- > 0;) {
                since = first[i * stride] != 0 ? 0 : since + 1;
                line[i] = static_cast<std::uint8_t>(line[i] | static_cast<std::uint8_t>(since <= reach));
            }
            for (std::size_t i = 0; i < count; ++i) {
                first[i * stride] = line[i];
            }
        }
    }
}

} // namespace

Patient::Patient(const Grid& grid, std::vector<float> density, const std::uint8_t* also_wanted,
                 double air_density)
    : grid_(grid), density_(std::move(density)) {
    check(grid_);
    check_densities(grid_, density_);
    mark_inside(air_density, also_wanted);
    mark_near();
}

void Patient::mark_inside(double air_density, const std::uint8_t* also_wanted) {
    flag_.assign(grid_.voxels(), 0);
    SliceFlood flood(grid_, density_, static_cast<float>(air_density), flag_.data());
    for (int z = 0; z < grid_.shape[2]; ++z) {
        flood.fill(z);
    }
    for (std::size_t i = 0; i < flag_.size(); ++i) {
        const bool asked = also_wanted != nullptr && also_wanted[i] != 0;
        flag_[i] = asked || flag_[i] != outside ? wanted_flag : std::uint8_t{0};
    }
}

void Patient::mark_near() {
    // A ray's first steps, of two voxels each, begin in a voxel that gets dose.
    constexpr int reach = 3;
    std::vector<std::uint8_t> close = flag_;
    for (std::size_t axis = 0; axis < 3; ++axis) {
        spread(grid_, axis, reach, close);
    }
    for (std::size_t i = 0; i < flag_.size(); ++i) {
        flag_[i] = static_cast<std::uint8_t>(flag_[i] | (close[i] != 0 ? near_flag : 0));
    }
}

} // namespace brimstone::dose
