#include "brimstone/plan/multilevel.hpp"

#include <stdexcept>
#include <string>
#include <utility>

namespace brimstone {

MultilevelPlan::MultilevelPlan(PlanGrid finest, std::vector<TermSpecification> terms, double cost_offset,
                               Precision precision, int threads)
    : terms_(std::move(terms)), cost_offset_(cost_offset), precision_(precision), threads_(threads) {
    grids_.push_back(std::move(finest));
}

void MultilevelPlan::add_coarser_grid(Coarsening coarsening) {
    grids_.push_back(coarsen(grids_.back(), std::move(coarsening), threads_));
}

void MultilevelPlan::penalize_roughness(std::size_t grid, FluenceRoughness roughness) {
    grids_.at(grid).roughness = std::make_shared<const FluenceRoughness>(std::move(roughness));
}

const std::shared_ptr<const DoseMatrix>& MultilevelPlan::matrix(std::size_t grid) const {
    const std::shared_ptr<const DoseMatrix>& matrix = grids_.at(grid).matrix;
    if (matrix == nullptr) {
        throw std::logic_error("an optimization has left grid " + std::to_string(grid) +
                               ", and its matrix is gone");
    }
    return matrix;
}

std::size_t MultilevelPlan::n_beamlets(std::size_t grid) const {
    return grid == 0 ? grids_[0].matrix->columns() : grids_.at(grid).from_finer.n_beamlets;
}

void MultilevelPlan::leave_coarser_than(std::size_t grid) {
    while (++grid < grids_.size()) {
        grids_[grid].matrix.reset();
    }
}

std::shared_ptr<const Prescription> MultilevelPlan::prescription(std::size_t grid,
                                                                 const BinSettings& bins) const {
    const PlanGrid& plan = grids_.at(grid);
    std::vector<std::unique_ptr<Term>> terms;
    for (const TermSpecification& term : terms_) {
        terms.push_back(make_term(term, plan.structures.at(term.structure), bins));
    }
    return std::make_shared<const Prescription>(matrix(grid), std::move(terms), plan.base_dose, cost_offset_,
                                                precision_, threads_);
}

std::unique_ptr<LevelObjective> MultilevelPlan::objective(const LevelSettings& level) const {
    return std::make_unique<LevelObjective>(prescription(level.grid, level.bins), level.parameters,
                                            grids_.at(level.grid).roughness);
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

Archive LevelProgress::checkpoint() const {
    Archive archive;
    archive.put("level", static_cast<double>(level));
    std::vector<double> levels;
    for (const SearchResult& result : finished) {
        levels.insert(levels.end(), {static_cast<double>(result.stop), static_cast<double>(result.iterations),
                                     result.cost});
    }
    archive.put("finished_levels", std::move(levels));
    search.save(archive);
    return archive;
}

namespace {

std::vector<SearchResult> finished_levels(const Archive& checkpoint) {
    std::vector<std::vector<double>> levels;
    checkpoint.get_all("finished_levels", 3, levels);
    std::vector<SearchResult> results;
    for (const std::vector<double>& level : levels) {
        results.push_back(
            {static_cast<Stop>(static_cast<int>(level[0])), static_cast<int>(level[1]), level[2]});
    }
    return results;
}

} // namespace

MultilevelResult optimize(MultilevelPlan& plan, const std::vector<LevelSettings>& levels,
                          LineSearch& line_search, std::vector<double> weights, const Archive* checkpoint,
                          const std::function<void()>& check_interruption,
                          const std::function<bool(const LevelProgress&)>& on_iteration) {
    return_freed_memory();
    MultilevelResult result;
    std::size_t grid = 0;
    const std::size_t first =
        checkpoint != nullptr ? static_cast<std::size_t>(checkpoint->number("level")) + 1 : levels.size();
    if (first > levels.size()) {
        throw std::invalid_argument("the checkpoint is of level " + std::to_string(first - 1) + " of " +
                                    std::to_string(levels.size()));
    }
    for (std::size_t level = first; level-- > 0;) {
        const LevelSettings& settings = levels[level];
        plan.leave_coarser_than(settings.grid);
        const auto objective = plan.objective(settings);
        objective->set_interruption(check_interruption);
        const auto search = make_search(*objective, line_search, settings.search);
        if (checkpoint != nullptr) {
            search->restore(*checkpoint);
            result.levels = finished_levels(*checkpoint);
            checkpoint = nullptr;
        } else {
            weights = plan.transfer(std::move(weights), grid, settings.grid);
            for (double& weight : weights) {
                weight = objective->transform().parameter(weight);
            }
            search->start(std::move(weights));
        }
        grid = settings.grid;
        const SearchResult found = search->run([&](const Iteration& iteration) {
            return on_iteration({level, grid, iteration, *objective, *search, result.levels});
        });
        weights = search->parameter();
        for (double& weight : weights) {
            weight = objective->transform().weight(weight);
        }
        result.levels.push_back(found);
        if (found.stop == Stop::callback) {
            break;
        }
    }
    result.weights = plan.transfer(std::move(weights), grid, 0);
    return result;
}

} // namespace brimstone
