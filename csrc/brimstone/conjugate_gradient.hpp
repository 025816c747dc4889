#pragma once

#include <functional>
#include <vector>

#include "brimstone/level_objective.hpp"
#include "brimstone/line_search.hpp"

namespace brimstone {

struct ConjugateGradientSettings {
    double tolerance = 1e-3;
    double line_tolerance = 1e-3;
    double gradient_tolerance = 1e-9; ///< relative to the cost
    int max_iterations = 500;
};

/// Where the search stands after an iteration.
struct Iteration {
    int number;  ///< from 1, within the level
    double cost; ///< with the variance that held during this iteration
    double gradient_norm;
    const LevelObjective& objective; ///< its weights and doses are those of this iteration
};

enum class Stop { converged, gradient_vanished, iterations_exhausted, callback };

struct ConjugateGradientResult {
    Stop stop;
    int iterations;
    double cost;
};

/// Polak-Ribière conjugate gradient (E. Polak and G. Ribière, 1969), restarted with steepest descent when a
/// direction is no descent or its β is negative. The variance adapts after every line minimisation.
///
/// @param parameter      start, and on return the result
/// @param on_iteration   returns false to stop
ConjugateGradientResult minimise(LevelObjective& objective, LineSearch& line_search,
                                 std::vector<double>& parameter, const ConjugateGradientSettings& settings,
                                 const std::function<bool(const Iteration&)>& on_iteration);

} // namespace brimstone
