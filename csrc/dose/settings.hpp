#pragma once

namespace brimstone::dose {

/// Where the cumulative kernel begins below its first radius.
enum class KernelStart {
    falling, ///< at its first value, and falls to zero: air gets as much as its neighbors
    rising,  ///< at zero, and rises to its first value
};

/// Which density a step of a ray has.
enum class StepDensity {
    lower_corner, ///< of the voxel at the lower corner of its middle: half a voxel off along each axis
    nearest,      ///< of the voxel that its middle lies in
};

/// Which radiological depth a voxel has.
enum class DepthRule {
    first_ray, ///< of the first ray of its beamlet that passes it nearly centrally, without pieces below 0.1
               ///< mm
    center,    ///< of its center
};

/// How the dose is computed. The defaults are those of OpenTPS's collapsed cone engine.
struct Settings {
    int polar = 6;
    int azimuth = 12;
    double pi = 3.14152654;    ///< for the directions; this is what OpenTPS's program takes for π
    double azimuth_turn = 0.0; ///< of each cone's directions against those of the cone before, as a share of
                               ///< the angle between two of them
    double step_voxels = 2.0;  ///< in units of the smallest voxel edge
    int near_steps = 0;        ///< steps of this length at the beginning of a ray; all if it is 0
    int far_step = 1;          ///< length of the other steps, in steps
    KernelStart kernel_start = KernelStart::falling;
    StepDensity step_density = StepDensity::lower_corner;
    DepthRule depth_rule = DepthRule::first_ray;
    int sub_voxels = 5;            ///< along each axis
    double sub_voxel_shift = -0.1; ///< of their middle, in voxel edges
    double reach_mm = 20.0;        ///< of scatter beside a beamlet
    double cutoff = 0.005;         ///< doses below this share of a beamlet's maximum are dropped
};

/// As OpenTPS's program computes beamlets, so that its recalculation agrees.
inline Settings opentps_settings() {
    return {};
}

/// Scatter over the whole patient.
inline Settings full_settings() {
    Settings settings;
    settings.polar = 24;
    settings.azimuth_turn = 0.382; // by the golden section no two cones near each other look the same way
    settings.step_voxels = 1.0;
    settings.near_steps = 8;
    settings.far_step = 2;
    settings.pi = 3.14159265358979323846;
    settings.kernel_start = KernelStart::rising;
    settings.step_density = StepDensity::nearest;
    settings.depth_rule = DepthRule::center;
    settings.sub_voxel_shift = 0.0;
    settings.reach_mm = 1e4;
    settings.cutoff = 0.0;
    return settings;
}

/// g/cm³; what is lighter and beside the patient gets no dose.
constexpr double default_air_density = 0.1;

/// @throws std::invalid_argument  if a setting is out of its range, with its name, value and range
void check(const Settings& settings);

} // namespace brimstone::dose
