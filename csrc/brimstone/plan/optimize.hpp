#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "brimstone/plan/multilevel_plan.hpp"
#include "brimstone/search/line_search.hpp"
#include "brimstone/search/search.hpp"

namespace brimstone {

struct LevelProgress {
    std::size_t level; ///< 0 is the last one
    std::size_t grid;
    const Iteration& iteration;
    const LevelObjective& objective; ///< its weights and doses are those of this iteration
    const Search& search;
    const std::vector<SearchResult>& finished; ///< levels before this one

    /// All that is needed to go on from here.
    Archive checkpoint() const;
};

struct MultilevelResult {
    std::vector<double> weights;      ///< of the finest grid, in MU
    std::vector<SearchResult> levels; ///< coarsest first
};

/// Optimizes from the coarsest level, the last of `levels`, to level 0.
///
/// @param plan                loses the matrices of grids that the search has left
/// @param weights             start, in MU, of the finest grid
/// @param checkpoint          where to go on instead, or null
/// @param check_interruption  called before each evaluation; throws to end the work
/// @param on_iteration        returns false to stop
MultilevelResult optimize(MultilevelPlan& plan, const std::vector<LevelSettings>& levels,
                          LineSearch& line_search, std::vector<double> weights, const Archive* checkpoint,
                          const std::function<void()>& check_interruption,
                          const std::function<bool(const LevelProgress&)>& on_iteration);

} // namespace brimstone
