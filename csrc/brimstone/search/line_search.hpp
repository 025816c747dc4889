#pragma once

#include <memory>
#include <vector>

#include "brimstone/search/level_objective.hpp"
#include "brimstone/search/search_settings.hpp"

namespace brimstone {

/// A half-line in parameter space. `direction` has largest entry 1, so the step is the largest parameter
/// change.
struct Line {
    const std::vector<double>& start;
    const std::vector<double>& direction;
    double start_cost;
    double first_step; ///< guess of the minimum's position
};

struct LineMinimum {
    double step; ///< 0 when no lower cost was found
    double cost;
};

/// Finds the minimum of the cost along a line.
class LineSearch {
public:
    LineSearch() = default;
    LineSearch(const LineSearch&) = delete;
    LineSearch& operator=(const LineSearch&) = delete;
    virtual ~LineSearch() = default;

    /// The objective must have been evaluated at the line's start last.
    virtual LineMinimum minimize(LevelObjective& objective, const Line& line, double tolerance) = 0;
};

/// The reference: Brent's method, every evaluation a product with the dose matrix.
class BrentLineSearch final : public LineSearch {
public:
    LineMinimum minimize(LevelObjective& objective, const Line& line, double tolerance) override;
};

/// Doses at a few steps from one product with several right-hand sides; Brent's method on the cost of doses
/// interpolated in between (polynomial on Chebyshev-Lobatto points); the true cost checked at the end.
class InterpolatedLineSearch final : public LineSearch {
public:
    LineMinimum minimize(LevelObjective& objective, const Line& line, double tolerance) override;

private:
    BrentLineSearch reference_;
};

std::unique_ptr<LineSearch> make_line_search(LineSearchMethod method);

} // namespace brimstone
