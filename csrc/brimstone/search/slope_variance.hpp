#pragma once

namespace brimstone {

/// [4 ŵ (1 − ŵ)]² [2 ŵ]² and its derivative: how the slope of the transform narrows a parameter's variance.
struct SlopeVariance {
    double factor;
    double slope; ///< with respect to ŵ

    explicit SlopeVariance(double relative_weight) {
        const double rest = 1.0 - relative_weight;
        const double cube = relative_weight * relative_weight * relative_weight;
        factor = 64.0 * cube * relative_weight * rest * rest;
        slope = 128.0 * cube * rest * (2.0 - 3.0 * relative_weight);
    }
};

} // namespace brimstone
