#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

namespace brimstone {

/// w = u S σ(s x): keeps beamlet weights positive and bounded.
class SigmoidTransform {
public:
    /// @param input_scale   s, per unit of the parameter
    /// @param weight_limit  u S, the highest weight, in MU
    SigmoidTransform(double input_scale, double weight_limit)
        : input_scale_(input_scale), weight_limit_(weight_limit) {}

    double weight(double parameter) const {
        return weight_limit_ / (1.0 + std::exp(-input_scale_ * parameter));
    }

    /// dw/dx at a weight.
    double slope(double weight) const { return input_scale_ * weight * (1.0 - weight / weight_limit_); }

    double parameter(double weight) const {
        constexpr double margin = 1e-6;
        const double share = std::clamp(weight / weight_limit_, margin, 1.0 - margin);
        return std::log(share / (1.0 - share)) / input_scale_;
    }

    std::vector<double> weights(std::vector<double> parameters) const {
        for (double& value : parameters) {
            value = weight(value);
        }
        return parameters;
    }
    std::vector<double> parameters(std::vector<double> weights) const {
        for (double& value : weights) {
            value = parameter(value);
        }
        return weights;
    }

    double weight_limit() const { return weight_limit_; }

private:
    double input_scale_;
    double weight_limit_;
};

} // namespace brimstone
