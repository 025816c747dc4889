#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "brimstone/plan/level_settings.hpp"
#include "brimstone/plan/plan_grid.hpp"
#include "brimstone/plan/term_specification.hpp"
#include "brimstone/search/level_objective.hpp"

namespace brimstone {

/// A plan to optimize: its grids, finest first, and the terms of its cost.
class MultilevelPlan {
public:
    /// @param groups  of robust terms
    MultilevelPlan(PlanGrid finest, std::vector<TermSpecification> terms, std::vector<ScenarioRisk> groups,
                   double cost_offset, Precision precision, int threads);

    /// The same grids, whose matrices are shared, with other terms, none of them robust.
    MultilevelPlan with_terms(std::vector<TermSpecification> terms) const;
    /// @param known  the coarser grid's matrix, if somebody has it already; or null
    void add_coarser_grid(Coarsening coarsening, std::shared_ptr<const DoseMatrix> known = nullptr);
    /// Adds a cost of rough fluence on one grid.
    void penalize_roughness(std::size_t index, FluenceRoughness roughness);

    /// @throws std::invalid_argument  when there is no grid of this index, here and in all that follows
    const PlanGrid& grid(std::size_t index) const;
    /// @throws std::logic_error  when an optimization has left the grid
    const std::shared_ptr<const DoseMatrix>& matrix(std::size_t index) const;
    std::size_t n_beamlets(std::size_t index) const;
    /// Frees the matrices of grids coarser than this one; their costs can no longer be computed.
    void leave_coarser_than(std::size_t grid);
    std::size_t n_grids() const { return grids_.size(); }

    std::shared_ptr<const Prescription> prescription(std::size_t index, const BinSettings& bins) const;
    std::unique_ptr<LevelObjective> objective(const LevelSettings& level) const;

    /// Weights of one grid carried to another, finer or coarser.
    std::vector<double> transfer(std::vector<double> weights, std::size_t from, std::size_t to) const;

private:
    std::vector<PlanGrid> grids_;
    std::vector<TermSpecification> terms_;
    std::vector<ScenarioRisk> groups_;
    double cost_offset_;
    Precision precision_;
    int threads_;
};

} // namespace brimstone
