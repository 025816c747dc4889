#pragma once

#include <functional>

namespace brimstone {

struct Minimum {
    double position;
    double value;
    int evaluations;
};

using ScalarFunction = std::function<double(double)>;

/// Brent's minimization inside [low, high] (R. P. Brent, Algorithms for Minimization without Derivatives,
/// 1973, chapter 5), to a relative tolerance of the position.
Minimum brent_minimum(const ScalarFunction& function, double low, double high, double tolerance,
                      int max_evaluations);

/// The same where nothing is known but that the function falls at 0 (value there: `at_zero`): steps out by
/// golden sections from `first_step` until the minimum is bracketed, or from it inwards when it is too long.
Minimum brent_minimum_along(const ScalarFunction& function, double at_zero, double first_step,
                            double tolerance, int max_evaluations);

} // namespace brimstone
