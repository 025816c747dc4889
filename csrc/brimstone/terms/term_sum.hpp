#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "brimstone/terms/scenario_risk.hpp"
#include "brimstone/terms/term.hpp"

namespace brimstone {

/// What a term's cost is added to: the cost of a scenario in a group of robust terms, or the sum itself.
struct TermPlace {
    static constexpr std::size_t no_group = static_cast<std::size_t>(-1);

    std::size_t group = no_group;
    std::size_t scenario = 0;
};

/// Terms, and the groups of those whose costs in scenarios are combined.
struct GroupedTerms {
    std::vector<const Term*> terms;
    std::vector<TermPlace> places; ///< of each term
    std::vector<ScenarioRisk> groups;
};

/// The sum of some terms and groups of terms at one dose, and its derivatives.
class TermSum {
public:
    /// @param states  what each term looks at, of as many voxels each; must outlive the sum
    TermSum(const GroupedTerms& grouped, std::vector<const DoseState*> states, bool with_residual,
            int threads);
    /// @param state  what the term looks at; must outlive the sum
    TermSum(const Term& term, const DoseState& state, bool with_residual, int threads)
        : TermSum({{&term}, {TermPlace{}}, {}}, {&state}, with_residual, threads) {}

    double value() const { return value_; }

    /// Writes the derivatives for voxels from `residual.first_voxel` to below `end`, of the terms that look
    /// at a state; from any thread.
    void residual(const DoseState& state, const Residual& residual, std::size_t end) const;

private:
    void add_up(const GroupedTerms& grouped, const std::vector<double>& cost);

    std::vector<const DoseState*> states_;
    std::vector<std::unique_ptr<Term::Evaluation>> evaluations_;
    std::vector<double> slope_; ///< of the sum with respect to the cost of each term
    double value_ = 0.0;
};

} // namespace brimstone
