#pragma once

namespace brimstone {

enum class SearchMethod { conjugate_gradient, lbfgs };
enum class LineSearchMethod { interpolated, brent };

struct SearchSettings {
    SearchMethod method;
    double tolerance;
    double line_tolerance;
    double gradient_tolerance; ///< relative to the cost
    int max_iterations;
};

enum class Stop { converged, gradient_vanished, iterations_exhausted, callback };

struct SearchResult {
    Stop stop;
    int iterations;
    double cost;
};

} // namespace brimstone
