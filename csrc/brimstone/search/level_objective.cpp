#include "brimstone/search/level_objective.hpp"

#include <cmath>
#include <limits>
#include <utility>

#include "brimstone/search/slope_variance.hpp"
#include "brimstone/support/parallel.hpp"
#include "brimstone/support/vector_math.hpp"

namespace brimstone {

LevelObjective::LevelObjective(std::shared_ptr<const Prescription> prescription,
                               const ParameterSettings& settings,
                               std::shared_ptr<const FluenceRoughness> roughness)
    : prescription_(std::move(prescription)), roughness_(std::move(roughness)), settings_(settings),
      transform_(settings.input_scale, settings.weight_limit),
      covariance_(prescription_->matrix().columns(), settings.variance_min, settings.variance_max,
                  settings.covariance_base, settings.covariance_memory),
      weight_(size()), wide_share_(size()), wide_slope_(size()) {}

LevelObjective::WideShare LevelObjective::wide_share(std::size_t beamlet, double weight) const {
    const double range = settings_.variance_max - settings_.variance_min;
    const double variance = covariance_.variance()[beamlet];
    if (!settings_.slope_variance) {
        return {(variance - settings_.variance_min) / range, 0.0};
    }
    const SlopeVariance slope(weight / transform_.weight_limit());
    const double narrowed = variance * slope.factor;
    if (narrowed <= settings_.variance_min) {
        return {0.0, 0.0};
    }
    if (narrowed >= settings_.variance_max) {
        return {1.0, 0.0};
    }
    return {(narrowed - settings_.variance_min) / range,
            variance * slope.slope / (transform_.weight_limit() * range)};
}

void LevelObjective::set_parameter(const std::vector<double>& parameter) {
    check_interruption();
    for (std::size_t i = 0; i < parameter.size(); ++i) {
        weight_[i] = transform_.weight(parameter[i]);
        const WideShare share = wide_share(i, weight_[i]);
        wide_share_[i] = share.value;
        wide_slope_[i] = share.slope;
    }
    prescription_->compute_dose(weight_, wide_share_, state_);
}

double LevelObjective::cost(const std::vector<double>& parameter) {
    set_parameter(parameter);
    const double cost = prescription_->cost(state_);
    return roughness_ ? cost + roughness_->cost(weight_) : cost;
}

double LevelObjective::cost_of_doses(
    const std::vector<double>& parameter,
    const std::function<void(std::size_t, std::size_t, double*, double*)>& write,
    const std::function<void(std::size_t, std::size_t, BiologicalState&, double*)>& write_more) {
    constexpr std::size_t voxels_per_piece = 4096;
    const int threads = prescription_->threads();
    state_.resize(prescription_->matrix().rows());
    parallel_pieces(state_.voxels(), voxels_per_piece, threads,
                    [&](std::size_t, std::size_t begin, std::size_t end) {
                        write(begin, end, state_.dose(), state_.wide_dose());
                    });
    if (prescription_->biology() != nullptr) {
        state_.biology.resize(state_.voxels(), *prescription_->biology());
        std::vector<double> scratch(state_.voxels());
        parallel_pieces(state_.voxels(), voxels_per_piece, threads,
                        [&](std::size_t, std::size_t begin, std::size_t end) {
                            write_more(begin, end, state_.biology, scratch.data());
                        });
        prescription_->update(state_);
    }
    state_.find_maximum(threads);
    const double cost = prescription_->cost(state_);
    if (!roughness_) {
        return cost;
    }
    for (std::size_t i = 0; i < parameter.size(); ++i) {
        weight_[i] = transform_.weight(parameter[i]);
    }
    return cost + roughness_->cost(weight_);
}

double LevelObjective::cost_and_gradient(const std::vector<double>& parameter,
                                         std::vector<double>& gradient) {
    set_parameter(parameter);
    double cost = prescription_->cost_and_gradient(state_, weight_, wide_share_, wide_slope_, gradient);
    if (roughness_) {
        cost += roughness_->add_gradient(weight_, gradient);
    }
    for (std::size_t i = 0; i < gradient.size(); ++i) {
        gradient[i] *= transform_.slope(weight_[i]);
    }
    // Neither a cost without a slope nor the reverse is of use to a search.
    return all_finite(gradient) && std::isfinite(cost) ? cost : std::numeric_limits<double>::infinity();
}

void LevelObjective::add_searched_direction(const std::vector<double>& direction) {
    if (settings_.dynamic_covariance) {
        covariance_.add_direction(direction);
    }
}

} // namespace brimstone
