#pragma once

#include <vector>

namespace brimstone {

/// How the costs of scenarios become one: by a coherent risk measure, the highest mean over the scenarios
/// that probabilities q of a set give,
///
///     R(f) = max over q ≤ p / tail, Σ q = 1, of  Σ q_s f_s + τ (c − Σ q_s log(q_s / p_s)),
///     τ = smoothing · Σ p_s f_s,
///
/// where c is the highest value of the entropy before it, so that R is never below that without smoothing.
/// A tail of 1 gives the expected cost, a tail of 0 the worst one, and those in between their CVaR
/// (Rockafellar and Uryasev, 2000). Without smoothing R has kinks where scenarios change places, at which
/// searches stall; with it R is smooth, convex, monotone in every cost and of their scale.
struct ScenarioRisk {
    std::vector<double> probability; ///< of each scenario, all above 0; they sum to 1
    double tail;                     ///< in [0, 1]
    double smoothing;                ///< at least 0
};

struct CombinedCost {
    double value;
    std::vector<double> slope; ///< with respect to the cost of each scenario; none is negative
};

CombinedCost combine(const ScenarioRisk& risk, const std::vector<double>& cost);

} // namespace brimstone
