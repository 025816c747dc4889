#include "brimstone/conjugate_gradient.hpp"

#include <algorithm>
#include <cmath>

#include "brimstone/vector_math.hpp"

namespace brimstone {

namespace {

constexpr double first_parameter_step = 1.0;

bool has_converged(double before, double after, double tolerance) {
    constexpr double tiny = 1e-10;
    return 2.0 * std::fabs(before - after) <= tolerance * (std::fabs(before) + std::fabs(after) + tiny);
}

std::vector<double> negated(const std::vector<double>& a) {
    std::vector<double> result(a);
    scale(-1.0, result);
    return result;
}

double polak_ribiere(const std::vector<double>& gradient, const std::vector<double>& previous) {
    double change = 0.0;
    for (std::size_t i = 0; i < gradient.size(); ++i) {
        change += gradient[i] * (gradient[i] - previous[i]);
    }
    return change / dot(previous, previous);
}

} // namespace

ConjugateGradientResult minimise(LevelObjective& objective, LineSearch& line_search,
                                 std::vector<double>& parameter, const ConjugateGradientSettings& settings,
                                 const std::function<bool(const Iteration&)>& on_iteration) {
    std::vector<double> gradient;
    std::vector<double> next_gradient;
    double cost = objective.cost_and_gradient(parameter, gradient);
    std::vector<double> direction = negated(gradient);
    bool steepest = true;
    double step_guess = first_parameter_step;

    for (int iteration = 1; iteration <= settings.max_iterations; ++iteration) {
        const double gradient_norm = norm(gradient);
        if (gradient_norm <= settings.gradient_tolerance * std::fabs(cost)) {
            return {Stop::gradient_vanished, iteration - 1, cost};
        }
        if (!steepest && dot(gradient, direction) >= 0.0) {
            direction = negated(gradient);
            steepest = true;
        }
        std::vector<double> unit = direction;
        scale(1.0 / largest_magnitude(unit), unit);
        const LineMinimum minimum =
            line_search.minimise(objective, {parameter, unit, cost, step_guess}, settings.line_tolerance);
        add_scaled(minimum.step, unit, parameter);
        if (minimum.step > 0.0) {
            step_guess = minimum.step;
        }
        bool converged = has_converged(cost, minimum.cost, settings.tolerance);
        if (minimum.step == 0.0 && !steepest) {
            converged = false; // nothing gained along this direction: try the steepest one before giving up
        }

        objective.add_searched_direction(unit);
        // The variance has changed, and with it the cost.
        cost = objective.cost_and_gradient(parameter, next_gradient);
        const bool go_on = on_iteration({iteration, minimum.cost, norm(next_gradient), objective});
        if (!go_on) {
            return {Stop::callback, iteration, cost};
        }
        if (converged) {
            return {Stop::converged, iteration, cost};
        }
        const double beta = minimum.step > 0.0 ? polak_ribiere(next_gradient, gradient) : 0.0;
        steepest = beta <= 0.0;
        if (steepest) {
            direction = negated(next_gradient);
        } else {
            scale(beta, direction);
            add_scaled(-1.0, next_gradient, direction);
        }
        gradient.swap(next_gradient);
    }
    return {Stop::iterations_exhausted, settings.max_iterations, cost};
}

} // namespace brimstone
