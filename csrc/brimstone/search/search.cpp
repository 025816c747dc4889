#include "brimstone/search/search.hpp"

#include <cmath>
#include <stdexcept>
#include <utility>

#include "brimstone/search/conjugate_gradient.hpp"
#include "brimstone/search/lbfgs.hpp"
#include "brimstone/support/vector_math.hpp"

namespace brimstone {

void Search::start(std::vector<double> parameter) {
    parameter_ = std::move(parameter);
    evaluate();
    begin();
}

void Search::evaluate() {
    cost_ = objective_.cost_and_gradient(parameter_, gradient_);
    check_finite(cost_);
}

void Search::check_finite(double cost) {
    if (!std::isfinite(cost)) {
        throw std::overflow_error(
            "the cost or its gradient is too large for a number where the search has come: "
            "a term is too steep or its weight too high");
    }
}

SearchResult Search::run(const std::function<bool(const Iteration&)>& on_iteration) {
    while (!stop_) {
        if (iteration_ == settings_.max_iterations) {
            stop_ = Stop::iterations_exhausted;
        } else if (norm(gradient_) <= settings_.gradient_tolerance * std::fabs(cost_)) {
            stop_ = Stop::gradient_vanished;
        } else {
            const Progress progress = iterate(++iteration_);
            if (progress.converged) {
                stop_ = Stop::converged;
            }
            if (!on_iteration({iteration_, progress.cost, norm(gradient_)})) {
                stop_ = Stop::callback;
            }
        }
    }
    return {*stop_, iteration_, cost_};
}

void Search::save(Archive& archive) const {
    archive.put("parameter", parameter_);
    archive.put("gradient", gradient_);
    archive.put("cost", cost_);
    archive.put("iteration", iteration_);
    archive.put("converged", stop_ == Stop::converged ? 1.0 : 0.0);
    objective_.save(archive);
    save_more(archive);
}

void Search::restore(const Archive& archive) {
    parameter_ = archive.array("parameter", objective_.size());
    objective_.restore(archive);
    objective_.cost_and_gradient(parameter_, gradient_);
    gradient_ = archive.array("gradient", objective_.size());
    cost_ = archive.number("cost");
    iteration_ = archive.count("iteration");
    if (archive.number("converged") != 0.0) {
        stop_ = Stop::converged;
    }
    restore_more(archive);
}

bool Search::has_converged(double before, double after, double tolerance) {
    constexpr double tiny = 1e-10;
    return 2.0 * std::fabs(before - after) <= tolerance * (std::fabs(before) + std::fabs(after) + tiny);
}

std::unique_ptr<Search> make_search(LevelObjective& objective, LineSearch& line_search,
                                    const SearchSettings& settings) {
    if (settings.method == SearchMethod::lbfgs) {
        return std::make_unique<LbfgsSearch>(objective, line_search, settings);
    }
    return std::make_unique<ConjugateGradientSearch>(objective, line_search, settings);
}

} // namespace brimstone
