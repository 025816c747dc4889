#include "brimstone/terms/term_sum.hpp"

#include <algorithm>
#include <utility>

#include "brimstone/support/parallel.hpp"

namespace brimstone {

TermSum::TermSum(const GroupedTerms& grouped, std::vector<const DoseState*> states, bool with_residual,
                 int threads)
    : states_(std::move(states)), slope_(grouped.terms.size(), 1.0) {
    const std::vector<const Term*>& terms = grouped.terms;
    constexpr std::size_t most_pieces = 32;
    constexpr std::size_t smallest_piece = 4096;
    const std::size_t voxels = states_.empty() ? 0 : states_.front()->voxels();
    const std::size_t even = (voxels + most_pieces - 1) / most_pieces;
    const std::size_t piece_size =
        std::max(smallest_piece, (even + DoseState::block - 1) / DoseState::block * DoseState::block);
    const std::size_t n_pieces = (voxels + piece_size - 1) / piece_size;

    for (std::size_t term = 0; term < terms.size(); ++term) {
        evaluations_.push_back(terms[term]->begin(*states_[term], n_pieces));
    }
    parallel_pieces(voxels, piece_size, threads, [&](std::size_t number, std::size_t begin, std::size_t end) {
        for (const auto& evaluation : evaluations_) {
            evaluation->collect({number, begin, end});
        }
    });
    std::vector<double> cost(terms.size(), 0.0);
    const auto finish = [&](std::size_t term, bool on_callers_thread) {
        if (evaluations_[term]->wants_callers_thread() == on_callers_thread) {
            cost[term] = evaluations_[term]->finish(with_residual);
        }
    };
    parallel_for(terms.size(), threads, [&](std::size_t term) { finish(term, false); });
    for (std::size_t term = 0; term < terms.size(); ++term) {
        finish(term, true);
    }
    add_up(grouped, cost);
}

void TermSum::add_up(const GroupedTerms& grouped, const std::vector<double>& cost) {
    std::vector<std::vector<double>> scenario_cost;
    for (const ScenarioRisk& group : grouped.groups) {
        scenario_cost.emplace_back(group.probability.size(), 0.0);
    }
    for (std::size_t term = 0; term < cost.size(); ++term) {
        const auto [group, scenario] = grouped.places[term];
        if (group == TermPlace::no_group) {
            value_ += cost[term];
        } else {
            scenario_cost[group][scenario] += cost[term];
        }
    }
    std::vector<CombinedCost> combined;
    for (std::size_t group = 0; group < grouped.groups.size(); ++group) {
        combined.push_back(combine(grouped.groups[group], scenario_cost[group]));
        value_ += combined.back().value;
    }
    for (std::size_t term = 0; term < cost.size(); ++term) {
        const auto [group, scenario] = grouped.places[term];
        if (group != TermPlace::no_group) {
            slope_[term] = combined[group].slope[scenario];
        }
    }
}

void TermSum::residual(const DoseState& state, const Residual& residual, std::size_t end) const {
    const std::size_t begin = residual.first_voxel;
    std::fill_n(residual.dose, end - begin, 0.0);
    std::fill_n(residual.wide_dose, end - begin, 0.0);
    for (std::size_t term = 0; term < evaluations_.size(); ++term) {
        if (states_[term] == &state && slope_[term] != 0.0) {
            evaluations_[term]->add_residual(begin, end,
                                             {begin, residual.dose, residual.wide_dose, slope_[term]});
        }
    }
}

} // namespace brimstone
