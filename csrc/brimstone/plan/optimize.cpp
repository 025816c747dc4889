#include "brimstone/plan/optimize.hpp"

#include <stdexcept>
#include <string>
#include <utility>

#include "brimstone/support/return_freed_memory.hpp"

namespace brimstone {

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
    constexpr std::size_t stops = 4;
    for (const std::vector<double>& level : levels) {
        const std::size_t stop = Archive::to_index("finished_levels", level[0], stops);
        results.push_back(
            {static_cast<Stop>(stop), Archive::to_count("finished_levels", level[1]), level[2]});
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
        checkpoint != nullptr ? checkpoint->index("level", levels.size()) + 1 : levels.size();
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
            search->start(objective->transform().parameters(std::move(weights)));
        }
        grid = settings.grid;
        const SearchResult found = search->run([&](const Iteration& iteration) {
            return on_iteration({level, grid, iteration, *objective, *search, result.levels});
        });
        weights = objective->transform().weights(search->parameter());
        result.levels.push_back(found);
        if (found.stop == Stop::callback) {
            break;
        }
    }
    result.weights = plan.transfer(std::move(weights), grid, 0);
    return result;
}

} // namespace brimstone
