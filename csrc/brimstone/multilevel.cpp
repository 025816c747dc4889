#include "brimstone/multilevel.hpp"

#include <utility>

#include "brimstone/maximum_dose.hpp"

namespace brimstone {

MultilevelPlan::MultilevelPlan(PlanGrid finest, std::vector<TermSpecification> terms, double cost_offset,
                               int threads)
    : terms_(std::move(terms)), cost_offset_(cost_offset), threads_(threads) {
    grids_.push_back(std::move(finest));
}

void MultilevelPlan::add_coarser_grid(Coarsening coarsening) {
    grids_.push_back(coarsen(grids_.back(), std::move(coarsening), threads_));
}

std::shared_ptr<const Prescription> MultilevelPlan::prescription(std::size_t grid,
                                                                 const BinSettings& bins) const {
    const PlanGrid& plan = grids_.at(grid);
    std::vector<std::unique_ptr<Term>> terms;
    for (const TermSpecification& term : terms_) {
        const VoxelShares& shares = plan.structures.at(term.structure);
        if (term.kind == TermSpecification::Kind::kl_divergence) {
            terms.push_back(std::make_unique<KlDivergenceTerm>(shares, TargetDvh(term.target), term.direction,
                                                               term.weight, bins));
        } else {
            terms.push_back(
                std::make_unique<MaximumDoseTerm>(shares, term.limit, term.weight, bins.reference_dose));
        }
    }
    return std::make_shared<const Prescription>(plan.matrix, std::move(terms), plan.base_dose, cost_offset_,
                                                threads_);
}

std::unique_ptr<LevelObjective> MultilevelPlan::objective(const LevelSettings& level) const {
    return std::make_unique<LevelObjective>(prescription(level.grid, level.bins), level.parameters);
}

std::vector<double> MultilevelPlan::transfer(std::vector<double> weights, std::size_t from,
                                             std::size_t to) const {
    for (; from < to; ++from) {
        weights = average_weights(grids_.at(from + 1).from_finer, weights);
    }
    for (; from > to; --from) {
        weights = interpolate_weights(grids_.at(from).from_finer, weights);
    }
    return weights;
}

MultilevelResult optimise(const MultilevelPlan& plan, const std::vector<LevelSettings>& levels,
                          LineSearch& line_search, std::vector<double> weights,
                          const std::function<void()>& check_interruption,
                          const std::function<bool(const LevelProgress&)>& on_iteration) {
    MultilevelResult result;
    std::size_t grid = 0;
    for (std::size_t level = levels.size(); level-- > 0;) {
        const LevelSettings& settings = levels[level];
        weights = plan.transfer(std::move(weights), grid, settings.grid);
        grid = settings.grid;
        const auto objective = plan.objective(settings);
        objective->set_interruption(check_interruption);

        std::vector<double> parameter(weights.size());
        for (std::size_t i = 0; i < weights.size(); ++i) {
            parameter[i] = objective->transform().parameter(weights[i]);
        }
        const ConjugateGradientResult search =
            minimise(*objective, line_search, parameter, settings.search,
                     [&](const Iteration& iteration) { return on_iteration({level, grid, iteration}); });
        for (std::size_t i = 0; i < weights.size(); ++i) {
            weights[i] = objective->transform().weight(parameter[i]);
        }
        result.levels.push_back(search);
        result.cost = search.cost;
        if (search.stop == Stop::callback) {
            break;
        }
    }
    result.weights = plan.transfer(std::move(weights), grid, 0);
    return result;
}

} // namespace brimstone
