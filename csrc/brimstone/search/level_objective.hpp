#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "brimstone/search/dynamic_covariance.hpp"
#include "brimstone/search/parameter_settings.hpp"
#include "brimstone/search/sigmoid_transform.hpp"
#include "brimstone/terms/fluence_roughness.hpp"
#include "brimstone/terms/prescription.hpp"

namespace brimstone {

/// The cost as a function of the optimizer's parameters at one level.
class LevelObjective {
public:
    /// @param roughness  what fluence costs besides, or null
    LevelObjective(std::shared_ptr<const Prescription> prescription, const ParameterSettings& settings,
                   std::shared_ptr<const FluenceRoughness> roughness);

    std::size_t size() const { return prescription_->matrix().columns(); }
    const Prescription& prescription() const { return *prescription_; }
    const SigmoidTransform& transform() const { return transform_; }
    const std::vector<double>& variance() const { return covariance_.variance(); }

    double cost(const std::vector<double>& parameter);
    /// The cost of parameters whose doses are not computed from them.
    /// @param write  writes the doses and wide doses of voxels [begin, end); called from any thread
    /// @param write_more  writes the products of further matrices, if there are some, with room for another
    /// row
    double cost_of_doses(
        const std::vector<double>& parameter,
        const std::function<void(std::size_t begin, std::size_t end, double* dose, double* wide_dose)>& write,
        const std::function<void(std::size_t begin, std::size_t end, BiologicalState& further,
                                 double* scratch)>& write_more);
    /// Infinite where the cost or an entry of its gradient is too large for a number.
    double cost_and_gradient(const std::vector<double>& parameter, std::vector<double>& gradient);

    /// Narrows the variance along a direction that has been searched; the cost changes.
    void add_searched_direction(const std::vector<double>& direction);

    /// Weights in MU and the weights' wide part φ∘w, interleaved.
    template <class Real>
    void weight_pairs(const std::vector<double>& parameter, int stride, Real* pairs) const {
        for (std::size_t i = 0; i < parameter.size(); ++i) {
            const double weight = transform_.weight(parameter[i]);
            pairs[i * static_cast<std::size_t>(stride)] = static_cast<Real>(weight);
            pairs[i * static_cast<std::size_t>(stride) + 1] =
                static_cast<Real>(weight * wide_share(i, weight).value);
        }
    }

    /// Weights of the last call of cost or cost_and_gradient, as long as cost_of_doses was not called.
    const std::vector<double>& weight() const { return weight_; }
    /// Doses of the last call of cost, cost_and_gradient or cost_of_doses.
    const PlanState& state() const { return state_; }

    void save(Archive& archive) const { covariance_.save(archive); }
    void restore(const Archive& archive) { covariance_.restore(archive); }

    /// Called before each evaluation; throws to end the work.
    void set_interruption(std::function<void()> check) { check_interruption_ = std::move(check); }
    void check_interruption() const {
        if (check_interruption_) {
            check_interruption_();
        }
    }

private:
    struct WideShare {
        double value; ///< φ_i
        double slope; ///< ∂φ_i/∂w_i, in 1/MU
    };

    WideShare wide_share(std::size_t beamlet, double weight) const;
    void set_parameter(const std::vector<double>& parameter);

    std::shared_ptr<const Prescription> prescription_;
    std::shared_ptr<const FluenceRoughness> roughness_;
    ParameterSettings settings_;
    SigmoidTransform transform_;
    DynamicCovariance covariance_;
    std::vector<double> weight_;
    std::vector<double> wide_share_;
    std::vector<double> wide_slope_;
    PlanState state_;
    std::function<void()> check_interruption_;
};

} // namespace brimstone
