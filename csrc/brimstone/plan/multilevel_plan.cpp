#include "brimstone/plan/multilevel_plan.hpp"

#include <stdexcept>
#include <string>
#include <utility>

namespace brimstone {

MultilevelPlan::MultilevelPlan(PlanGrid finest, std::vector<TermSpecification> terms,
                               std::vector<ScenarioRisk> groups, double cost_offset, Precision precision,
                               int threads)
    : terms_(std::move(terms)), groups_(std::move(groups)), cost_offset_(cost_offset), precision_(precision),
      threads_(threads) {
    grids_.push_back(std::move(finest));
}

MultilevelPlan MultilevelPlan::with_terms(std::vector<TermSpecification> terms) const {
    MultilevelPlan other(*this);
    other.terms_ = std::move(terms);
    other.groups_.clear();
    return other;
}

void MultilevelPlan::add_coarser_grid(Coarsening coarsening, std::shared_ptr<const DoseMatrix> known) {
    grids_.push_back(coarsen(grids_.back(), std::move(coarsening), std::move(known), threads_));
}

void MultilevelPlan::penalize_roughness(std::size_t index, FluenceRoughness roughness) {
    static_cast<void>(grid(index));
    grids_[index].roughness = std::make_shared<const FluenceRoughness>(std::move(roughness));
}

const PlanGrid& MultilevelPlan::grid(std::size_t index) const {
    if (index >= grids_.size()) {
        throw std::invalid_argument("grid " + std::to_string(index) + " is not one of the plan's " +
                                    std::to_string(grids_.size()) + ", counted from 0");
    }
    return grids_[index];
}

const std::shared_ptr<const DoseMatrix>& MultilevelPlan::matrix(std::size_t index) const {
    const std::shared_ptr<const DoseMatrix>& matrix = grid(index).matrix;
    if (matrix == nullptr) {
        throw std::logic_error("an optimization has left grid " + std::to_string(index) +
                               ", and its matrix is gone");
    }
    return matrix;
}

std::size_t MultilevelPlan::n_beamlets(std::size_t index) const {
    return index == 0 ? grids_[0].matrix->columns() : grid(index).from_finer.n_beamlets;
}

void MultilevelPlan::leave_coarser_than(std::size_t grid) {
    while (++grid < grids_.size()) {
        grids_[grid].matrix.reset();
        grids_[grid].biology.reset();
    }
}

std::shared_ptr<const Prescription> MultilevelPlan::prescription(std::size_t index,
                                                                 const BinSettings& bins) const {
    const PlanGrid& plan = grid(index);
    std::vector<std::unique_ptr<Term>> terms;
    std::vector<Channel> channels;
    std::vector<TermPlace> places;
    for (const TermSpecification& term : terms_) {
        const Quantity& quantity = plan.quantities.at(term.quantity);
        terms.push_back(make_term(term, quantity, bins));
        channels.push_back(quantity.channel);
        places.push_back(term.place);
    }
    return std::make_shared<const Prescription>(matrix(index), std::move(terms), std::move(channels),
                                                std::move(places), groups_, plan.base_dose, plan.biology,
                                                cost_offset_, precision_, threads_);
}

std::unique_ptr<LevelObjective> MultilevelPlan::objective(const LevelSettings& level) const {
    return std::make_unique<LevelObjective>(prescription(level.grid, level.bins), level.parameters,
                                            grid(level.grid).roughness);
}

std::vector<double> MultilevelPlan::transfer(std::vector<double> weights, std::size_t from,
                                             std::size_t to) const {
    for (; from < to; ++from) {
        weights = average_weights(grid(from + 1).from_finer, weights);
    }
    for (; from > to; --from) {
        weights = interpolate_weights(grid(from).from_finer, weights);
    }
    return weights;
}

} // namespace brimstone
