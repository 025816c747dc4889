#include "brimstone/terms/term_sum.hpp"

#include <algorithm>
#include <utility>

#include "brimstone/support/parallel.hpp"

namespace brimstone {

TermSum::TermSum(const std::vector<const Term*>& terms, std::vector<const DoseState*> states,
                 bool with_residual, int threads)
    : states_(std::move(states)) {
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
        value_ += cost[term];
    }
}

void TermSum::residual(const DoseState& state, const Residual& residual, std::size_t end) const {
    const std::size_t begin = residual.first_voxel;
    std::fill_n(residual.dose, end - begin, 0.0);
    std::fill_n(residual.wide_dose, end - begin, 0.0);
    for (std::size_t term = 0; term < evaluations_.size(); ++term) {
        if (states_[term] == &state) {
            evaluations_[term]->add_residual(begin, end, residual);
        }
    }
}

} // namespace brimstone
