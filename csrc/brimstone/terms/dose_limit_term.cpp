#include "brimstone/terms/dose_limit_term.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "brimstone/terms/sums.hpp"

namespace brimstone {

class DoseLimitTerm::At final : public Term::Evaluation {
public:
    At(const DoseLimitTerm& term, const DoseState& state, std::size_t n_pieces)
        : term_(term), state_(state), partial_(n_pieces, 0.0) {}

    void collect(const Piece& piece) override {
        const VoxelShares& shares = *term_.shares_;
        for_each_range(piece.begin, piece.end, [&](std::size_t begin, std::size_t end) {
            partial_[piece.number] += sum_over(begin, end, [&](std::size_t i) {
                const double excess = this->excess(shares.voxel[i]);
                return excess > 0.0 ? shares.share[i] * excess * excess : 0.0;
            });
        });
    }

    double finish(bool) override { return term_.weight_ * sum_of(partial_); }

    void add_residual(std::size_t first, std::size_t last, const Residual& residual) const override {
        const VoxelShares& shares = *term_.shares_;
        for_each_range(first, last, [&](std::size_t begin, std::size_t end) {
            for (std::size_t i = begin; i < end; ++i) {
                const double excess = this->excess(shares.voxel[i]);
                if (excess > 0.0) {
                    residual.dose[shares.voxel[i] - residual.first_voxel] +=
                        term_.weight_ *
                        (term_.sign_ * 2.0 * shares.share[i] * excess / term_.reference_dose_);
                }
            }
        });
    }

private:
    /// The entries of voxels [begin, end) that may cost something: a block whose highest dose is below the
    /// limit does not.
    template <class Visit>
    void for_each_range(std::size_t begin, std::size_t end, const Visit& visit) const {
        const VoxelShares& shares = *term_.shares_;
        std::size_t from = shares.position(begin);
        for (std::size_t first = begin; first < end; first += DoseState::block) {
            const std::size_t to = shares.position(std::min(end, first + DoseState::block));
            const bool cold = state_.block_maximum(first / DoseState::block) <= term_.limit_;
            if (from < to && !(cold && term_.sign_ > 0.0)) {
                visit(from, to);
            }
            from = to;
        }
    }

    double excess(std::size_t voxel) const {
        const double beyond = term_.sign_ * (state_.dose()[voxel] - term_.limit_);
        return beyond > 0.0 ? beyond / term_.reference_dose_ : 0.0;
    }

    const DoseLimitTerm& term_;
    const DoseState& state_;
    std::vector<double> partial_;
};

DoseLimitTerm::DoseLimitTerm(SharedShares shares, Side side, double limit, double weight,
                             double reference_dose)
    : shares_(std::move(shares)), sign_(side == Side::maximum ? 1.0 : -1.0), limit_(limit), weight_(weight),
      reference_dose_(reference_dose) {}

std::unique_ptr<Term::Evaluation> DoseLimitTerm::begin(const DoseState& state, std::size_t n_pieces) const {
    return std::make_unique<At>(*this, state, n_pieces);
}

} // namespace brimstone
