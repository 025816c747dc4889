#include "brimstone/term.hpp"

#include "brimstone/kernels/kernels.hpp"
#include "brimstone/parallel.hpp"

namespace brimstone {

void DoseState::find_maximum(int threads) {
    constexpr std::size_t blocks_per_piece = 16;
    const std::size_t n_blocks = (voxels() + block - 1) / block;
    block_maximum.resize(n_blocks);
    parallel_pieces(n_blocks, blocks_per_piece, threads,
                    [&](std::size_t, std::size_t begin, std::size_t end) {
                        for (std::size_t b = begin; b < end; ++b) {
                            block_maximum[b] =
                                kernels().highest(dose() + b * block, std::min(block, voxels() - b * block));
                        }
                    });
    maximum = n_blocks == 0 ? 0.0 : *std::max_element(block_maximum.begin(), block_maximum.end());
}

double evaluate(const std::vector<const Term*>& terms, const DoseState& state, Residual* residual,
                int threads) {
    constexpr std::size_t most_pieces = 32;
    constexpr std::size_t smallest_piece = 4096;
    const std::size_t voxels = state.voxels();
    const std::size_t even = (voxels + most_pieces - 1) / most_pieces;
    const std::size_t piece_size =
        std::max(smallest_piece, (even + DoseState::block - 1) / DoseState::block * DoseState::block);
    const std::size_t n_pieces = (voxels + piece_size - 1) / piece_size;

    std::vector<std::unique_ptr<Term::Evaluation>> evaluations;
    for (const Term* term : terms) {
        evaluations.push_back(term->begin(state, n_pieces));
    }
    parallel_pieces(voxels, piece_size, threads, [&](std::size_t number, std::size_t begin, std::size_t end) {
        for (const auto& evaluation : evaluations) {
            evaluation->collect({number, begin, end});
        }
    });
    std::vector<double> cost(terms.size(), 0.0);
    const auto finish = [&](std::size_t term, bool on_callers_thread) {
        if (evaluations[term]->wants_callers_thread() == on_callers_thread) {
            cost[term] = evaluations[term]->finish(residual != nullptr);
        }
    };
    parallel_for(terms.size(), threads, [&](std::size_t term) { finish(term, false); });
    double sum = 0.0;
    for (std::size_t term = 0; term < terms.size(); ++term) {
        finish(term, true);
        sum += cost[term];
    }
    if (residual != nullptr) {
        residual->resize(voxels);
        parallel_pieces(voxels, piece_size, threads,
                        [&](std::size_t number, std::size_t begin, std::size_t end) {
                            std::fill(residual->dose() + begin, residual->dose() + end, 0.0);
                            std::fill(residual->wide_dose() + begin, residual->wide_dose() + end, 0.0);
                            for (const auto& evaluation : evaluations) {
                                evaluation->add_residual({number, begin, end}, *residual);
                            }
                        });
    }
    return sum;
}

} // namespace brimstone
