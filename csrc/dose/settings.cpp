#include "dose/settings.hpp"

#include <stdexcept>
#include <string>

namespace brimstone::dose {

namespace {

void check_range(const char* name, double value, double low, double high) {
    if (!(value >= low && value <= high)) {
        throw std::invalid_argument("the dose setting " + std::string(name) + " is " + std::to_string(value) +
                                    "; it must lie between " + std::to_string(low) + " and " +
                                    std::to_string(high));
    }
}

} // namespace

void check(const Settings& settings) {
    check_range("polar", settings.polar, 1, 180);
    check_range("azimuth", settings.azimuth, 1, 360);
    check_range("pi", settings.pi, 3.14, 3.15);
    check_range("azimuth_turn", settings.azimuth_turn, 0.0, 1.0);
    check_range("step_voxels", settings.step_voxels, 0.1, 10.0);
    check_range("near_steps", settings.near_steps, 0, 1000);
    check_range("far_step", settings.far_step, 1, 10);
    check_range("sub_voxels", settings.sub_voxels, 1, 9);
    check_range("sub_voxel_shift", settings.sub_voxel_shift, -0.5, 0.5);
    check_range("reach_mm", settings.reach_mm, 0.0, 1e6);
    check_range("cutoff", settings.cutoff, 0.0, 0.5);
}

} // namespace brimstone::dose
