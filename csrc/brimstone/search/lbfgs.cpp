#include "brimstone/search/lbfgs.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "brimstone/support/vector_math.hpp"

namespace brimstone {

namespace {

constexpr double longest_step = 8.0; // in a parameter; they span about ±12

} // namespace

void LbfgsSearch::begin() {
    reference_cost_ = cost_;
}

/// Nocedal's two loops: −H g with the inverse Hessian that the remembered steps give.
std::vector<double> LbfgsSearch::direction() const {
    std::vector<double> q = gradient_;
    std::vector<double> alpha(steps_.size());
    for (std::size_t i = steps_.size(); i-- > 0;) {
        alpha[i] = dot(steps_[i], q) / dot(steps_[i], gradient_changes_[i]);
        add_scaled(-alpha[i], gradient_changes_[i], q);
    }
    const std::vector<double>& newest = gradient_changes_.back();
    scale(dot(steps_.back(), newest) / dot(newest, newest), q);
    for (std::size_t i = 0; i < steps_.size(); ++i) {
        const double beta = dot(gradient_changes_[i], q) / dot(steps_[i], gradient_changes_[i]);
        add_scaled(alpha[i] - beta, steps_[i], q);
    }
    scale(-1.0, q);
    return q;
}

/// Goes along the quasi-Newton direction, all the way or as far as it lowers the cost enough.
bool LbfgsSearch::full_step(Step& step) {
    constexpr int attempts = 4;
    constexpr double enough = 1e-4; // of the decrease that the slope promises (L. Armijo, 1966)
    const std::vector<double> along = direction();
    const double slope = dot(along, gradient_);
    if (!(slope < 0.0 && std::isfinite(slope))) {
        return false;
    }
    double length = std::min(1.0, longest_step / largest_magnitude(along));
    for (int attempt = 0; attempt < attempts; ++attempt) {
        std::vector<double> point = parameter_;
        add_scaled(length, along, point);
        step.cost = objective_.cost_and_gradient(point, step.gradient);
        if (step.cost <= cost_ + enough * length * slope) {
            step.change = along;
            scale(length, step.change);
            return true;
        }
        const double vertex = -slope * length * length / (2.0 * (step.cost - cost_ - slope * length));
        length = std::isnan(vertex) ? 0.1 * length : std::clamp(vertex, 0.1 * length, 0.5 * length);
    }
    return false;
}

/// A line minimization along steepest descent.
bool LbfgsSearch::steepest_step(Step& step) {
    std::vector<double> unit = negated(gradient_);
    scale(1.0 / largest_magnitude(unit), unit);
    const LineMinimum minimum =
        line_search_.minimize(objective_, {parameter_, unit, cost_, 1.0}, settings_.line_tolerance);
    step.change = std::move(unit);
    scale(minimum.step, step.change);
    std::vector<double> point = parameter_;
    add_scaled(1.0, step.change, point);
    step.cost = objective_.cost_and_gradient(point, step.gradient);
    check_finite(step.cost);
    return minimum.step > 0.0;
}

void LbfgsSearch::remember(const std::vector<double>& step, const std::vector<double>& gradient_change) {
    constexpr double least_curvature = 1e-10;
    if (!(dot(step, gradient_change) > least_curvature * norm(step) * norm(gradient_change))) {
        return;
    }
    steps_.push_back(step);
    gradient_changes_.push_back(gradient_change);
    if (steps_.size() > memory) {
        steps_.pop_front();
        gradient_changes_.pop_front();
    }
}

void LbfgsSearch::adapt_variance() {
    for (const std::vector<double>& direction : searched_) {
        objective_.add_searched_direction(direction);
    }
    searched_.clear();
    evaluate();
    reference_cost_ = cost_;
}

Search::Progress LbfgsSearch::iterate(int number) {
    Step step;
    bool moved = !steps_.empty() && full_step(step);
    if (!moved) {
        if (!steps_.empty()) {
            steps_.clear();
            gradient_changes_.clear();
            evaluate(); // the line search starts from here
        }
        moved = steepest_step(step);
    }
    add_scaled(1.0, step.change, parameter_);
    gradient_.swap(step.gradient);
    std::vector<double>& change = step.gradient; // of the gradient
    scale(-1.0, change);
    add_scaled(1.0, gradient_, change);
    remember(step.change, change);
    searched_.push_back(std::move(step.change));
    cost_ = step.cost;

    bool converged = !moved;
    if (number % adaptation_interval == 0) {
        converged =
            converged || has_converged(reference_cost_, cost_, adaptation_interval * settings_.tolerance);
        adapt_variance();
    }
    return {step.cost, converged};
}

void LbfgsSearch::save_more(Archive& archive) const {
    archive.put_all("steps", steps_);
    archive.put_all("gradient_changes", gradient_changes_);
    archive.put_all("searched", searched_);
    archive.put("reference_cost", reference_cost_);
}

void LbfgsSearch::restore_more(const Archive& archive) {
    archive.get_all("steps", objective_.size(), steps_);
    archive.get_all("gradient_changes", objective_.size(), gradient_changes_);
    archive.get_all("searched", objective_.size(), searched_);
    reference_cost_ = archive.number("reference_cost");
}

} // namespace brimstone
