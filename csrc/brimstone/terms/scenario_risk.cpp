#include "brimstone/terms/scenario_risk.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <utility>

namespace brimstone {

namespace {

/// Numbers of the scenarios, the highest cost first.
std::vector<std::size_t> from_worst(const std::vector<double>& cost) {
    std::vector<std::size_t> order(cost.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t one, std::size_t other) { return cost[one] > cost[other]; });
    return order;
}

/// q: as much as the tail allows for the worst scenarios; for the others what is left, by exp(f / τ).
std::vector<double> worst_shares(const ScenarioRisk& risk, const std::vector<double>& cost, double tau) {
    const std::vector<double>& p = risk.probability;
    const double most = risk.tail > 0.0 ? 1.0 / risk.tail : std::numeric_limits<double>::infinity();
    const std::vector<std::size_t> order = from_worst(cost);
    std::vector<double> q(cost.size(), 0.0);
    double left = 1.0;
    for (std::size_t k = 0; k < order.size() && left > 0.0; ++k) {
        const double highest = cost[order[k]];
        double sum = 0.0;
        for (std::size_t i = k; i < order.size(); ++i) {
            const double below = highest - cost[order[i]];
            q[order[i]] = p[order[i]] * (tau > 0.0 ? std::exp(-below / tau) : below > 0.0 ? 0.0 : 1.0);
            sum += q[order[i]];
        }
        const double scale = left / sum;
        if (scale <= most || k + 1 == order.size()) {
            for (std::size_t i = k; i < order.size(); ++i) {
                q[order[i]] *= scale;
            }
            return q;
        }
        q[order[k]] = p[order[k]] * most;
        left -= q[order[k]];
    }
    return q;
}

/// Σ q log(q / p), which is 0 for q = p.
double divergence(const std::vector<double>& q, const std::vector<double>& p) {
    double sum = 0.0;
    for (std::size_t s = 0; s < q.size(); ++s) {
        sum += q[s] > 0.0 ? q[s] * std::log(q[s] / p[s]) : 0.0;
    }
    return sum;
}

} // namespace

CombinedCost combine(const ScenarioRisk& risk, const std::vector<double>& cost) {
    const std::vector<double>& p = risk.probability;
    const double mean = std::inner_product(p.begin(), p.end(), cost.begin(), 0.0);
    if (risk.tail == 1.0) {
        return {mean, p};
    }
    const double tau = risk.smoothing * std::max(0.0, mean);
    std::vector<double> q = worst_shares(risk, cost, tau);
    double value = std::inner_product(q.begin(), q.end(), cost.begin(), 0.0);
    if (tau > 0.0) {
        const double rarest = *std::min_element(p.begin(), p.end());
        const double rest = -std::log(std::max(risk.tail, rarest)) - divergence(q, p);
        value += tau * rest;
        for (std::size_t s = 0; s < q.size(); ++s) {
            q[s] += risk.smoothing * p[s] * rest;
        }
    }
    return {value, std::move(q)};
}

} // namespace brimstone
