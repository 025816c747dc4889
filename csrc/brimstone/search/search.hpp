#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "brimstone/search/level_objective.hpp"
#include "brimstone/search/line_search.hpp"
#include "brimstone/search/search_settings.hpp"
#include "brimstone/support/archive.hpp"

namespace brimstone {

/// Where the search stands after an iteration.
struct Iteration {
    int number;  ///< from 1, within the level
    double cost; ///< with the variance that held during this iteration
    double gradient_norm;
};

/// Looks for the minimum of a level's cost, iteration by iteration.
///
/// Between iterations, all that a search knows is in its archive: restored from it, in another process, it
/// goes on bitwise as it would have.
class Search {
public:
    Search(LevelObjective& objective, const SearchSettings& settings)
        : objective_(objective), settings_(settings) {}
    Search(const Search&) = delete;
    Search& operator=(const Search&) = delete;
    virtual ~Search() = default;

    void start(std::vector<double> parameter);

    /// @param on_iteration  returns false to stop
    SearchResult run(const std::function<bool(const Iteration&)>& on_iteration);

    const std::vector<double>& parameter() const { return parameter_; }

    void save(Archive& archive) const;
    void restore(const Archive& archive);

protected:
    struct Progress {
        double cost; ///< with the variance that held until now
        bool converged;
    };

    /// Evaluates the objective where the search stands.
    /// @throws std::overflow_error  when the cost or its gradient is too large for a number
    void evaluate();
    static void check_finite(double cost);

    virtual void begin() = 0;
    /// One iteration, from a cost and gradient that are known; leaves the next ones behind, and the objective
    /// evaluated at the new parameters.
    virtual Progress iterate(int number) = 0;
    virtual void save_more(Archive& archive) const = 0;
    virtual void restore_more(const Archive& archive) = 0;

    /// The convergence test of W. H. Press et al., Numerical Recipes.
    static bool has_converged(double before, double after, double tolerance);

    LevelObjective& objective_;
    const SearchSettings settings_;
    std::vector<double> parameter_;
    std::vector<double> gradient_;
    double cost_ = 0.0;

private:
    int iteration_ = 0;
    std::optional<Stop> stop_;
};

/// @param line_search  must outlive the search
std::unique_ptr<Search> make_search(LevelObjective& objective, LineSearch& line_search,
                                    const SearchSettings& settings);

} // namespace brimstone
