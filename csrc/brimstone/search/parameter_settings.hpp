#pragma once

#include <cstddef>

namespace brimstone {

/// How parameters become weights and variances at a level.
struct ParameterSettings {
    double input_scale;
    double weight_limit; ///< u S, in MU
    double variance_min;
    double variance_max;
    bool slope_variance;
    bool dynamic_covariance;
    double covariance_base;
    std::size_t covariance_memory;
};

} // namespace brimstone
