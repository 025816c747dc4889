#pragma once

namespace brimstone {

/// Which kernel smooths the target.
enum class TargetSmoothing {
    half,       ///< half of it each kernel
    calculated, ///< each kernel the share that it has of the structure's calculated histogram
};

/// How dose is binned at a level. Doses in Gy, variances in Gy².
struct BinSettings {
    double reference_dose;
    double bin_width;
    double variance_min;
    double variance_max;
    TargetSmoothing target_smoothing;
    double kernel_reach; ///< standard deviations
    double floor;        ///< ε, per unit of relative dose
    double tail_length;  ///< decay of the floor outside the target's doses, relative dose; 0: constant
};

enum class KlDirection {
    target_calculated, ///< KL(target ‖ calculated), the published form
    calculated_target, ///< KL(calculated ‖ target)
};

} // namespace brimstone
