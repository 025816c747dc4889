#include "brimstone/search/conjugate_gradient.hpp"

#include <cmath>

#include "brimstone/support/vector_math.hpp"

namespace brimstone {

namespace {

double polak_ribiere(const std::vector<double>& gradient, const std::vector<double>& previous) {
    double change = 0.0;
    for (std::size_t i = 0; i < gradient.size(); ++i) {
        change += gradient[i] * (gradient[i] - previous[i]);
    }
    return change / dot(previous, previous);
}

} // namespace

void ConjugateGradientSearch::begin() {
    direction_ = negated(gradient_);
}

/// From the last direction and the gradient to the next direction.
void ConjugateGradientSearch::choose_direction(double beta) {
    steepest_ = !(beta > 0.0);
    if (!steepest_) {
        scale(beta, direction_);
        add_scaled(-1.0, gradient_, direction_);
        const double slope = dot(gradient_, direction_);
        steepest_ = !(slope < 0.0 && std::isfinite(slope));
    }
    if (steepest_) {
        direction_ = negated(gradient_);
    }
}

Search::Progress ConjugateGradientSearch::iterate(int) {
    std::vector<double> unit = direction_;
    scale(1.0 / largest_magnitude(unit), unit);
    const LineMinimum minimum =
        line_search_.minimize(objective_, {parameter_, unit, cost_, step_guess_}, settings_.line_tolerance);
    const bool moved = minimum.step > 0.0;
    add_scaled(minimum.step, unit, parameter_);
    if (moved) {
        step_guess_ = minimum.step;
    }
    // Where nothing was gained along a direction, the steepest one is tried before giving up.
    const bool converged = (moved || steepest_) && has_converged(cost_, minimum.cost, settings_.tolerance);

    objective_.add_searched_direction(unit);
    // The variance has changed, and with it the cost.
    const std::vector<double> previous = gradient_;
    evaluate();
    choose_direction(moved ? polak_ribiere(gradient_, previous) : 0.0);
    return {minimum.cost, converged};
}

void ConjugateGradientSearch::save_more(Archive& archive) const {
    archive.put("direction", direction_);
    archive.put("steepest", steepest_ ? 1.0 : 0.0);
    archive.put("step_guess", step_guess_);
}

void ConjugateGradientSearch::restore_more(const Archive& archive) {
    direction_ = archive.array("direction", objective_.size());
    steepest_ = archive.number("steepest") != 0.0;
    step_guess_ = archive.number("step_guess");
}

} // namespace brimstone
