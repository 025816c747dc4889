#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "brimstone/plan/pyramid.hpp"
#include "brimstone/plan/term_specification.hpp"
#include "brimstone/search/search.hpp"

namespace brimstone {

struct LevelSettings {
    std::size_t grid; ///< 0 is the finest
    BinSettings bins;
    ParameterSettings parameters;
    SearchSettings search;
};

/// A plan to optimize: its grids, finest first, and the terms of its cost.
class MultilevelPlan {
public:
    MultilevelPlan(PlanGrid finest, std::vector<TermSpecification> terms, double cost_offset,
                   Precision precision, int threads);

    void add_coarser_grid(Coarsening coarsening);
    /// Lets rough fluence cost more; that of other grids is not changed.
    void penalize_roughness(std::size_t grid, FluenceRoughness roughness);

    const PlanGrid& grid(std::size_t index) const { return grids_.at(index); }
    /// Of a grid whose matrix is there.
    /// @throws std::logic_error  when an optimization has left the grid
    const std::shared_ptr<const DoseMatrix>& matrix(std::size_t grid) const;
    std::size_t n_beamlets(std::size_t grid) const;
    /// Frees the matrices of grids coarser than this one; they have no costs any more.
    void leave_coarser_than(std::size_t grid);
    std::size_t n_grids() const { return grids_.size(); }

    std::shared_ptr<const Prescription> prescription(std::size_t grid, const BinSettings& bins) const;
    std::unique_ptr<LevelObjective> objective(const LevelSettings& level) const;

    /// Weights of one grid carried to another, finer or coarser.
    std::vector<double> transfer(std::vector<double> weights, std::size_t from, std::size_t to) const;

private:
    std::vector<PlanGrid> grids_;
    std::vector<TermSpecification> terms_;
    double cost_offset_;
    Precision precision_;
    int threads_;
};

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
