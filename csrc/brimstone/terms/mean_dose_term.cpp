#include "brimstone/terms/mean_dose_term.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "brimstone/terms/sums.hpp"

namespace brimstone {

class MeanDoseTerm::At final : public Term::Evaluation {
public:
    At(const MeanDoseTerm& term, const DoseState& state, std::size_t n_pieces)
        : term_(term), state_(state), partial_(n_pieces, 0.0) {}

    void collect(const Piece& piece) override {
        const VoxelShares& shares = *term_.shares_;
        partial_[piece.number] =
            sum_over(shares.position(piece.begin), shares.position(piece.end),
                     [&](std::size_t i) { return shares.share[i] * state_.dose()[shares.voxel[i]]; });
    }

    double finish(bool) override {
        const double excess = std::max(0.0, sum_of(partial_) - term_.limit_) / term_.reference_dose_;
        slope_ = 2.0 * term_.weight_ * excess / term_.reference_dose_;
        return term_.weight_ * excess * excess;
    }

    void add_residual(std::size_t first, std::size_t last, const Residual& residual) const override {
        if (slope_ == 0.0) {
            return;
        }
        const VoxelShares& shares = *term_.shares_;
        const std::size_t end = shares.position(last);
        for (std::size_t i = shares.position(first); i < end; ++i) {
            residual.dose[shares.voxel[i] - residual.first_voxel] += slope_ * shares.share[i];
        }
    }

private:
    const MeanDoseTerm& term_;
    const DoseState& state_;
    std::vector<double> partial_;
    double slope_ = 0.0;
};

MeanDoseTerm::MeanDoseTerm(SharedShares shares, double limit, double weight, double reference_dose)
    : shares_(std::move(shares)), limit_(limit), weight_(weight), reference_dose_(reference_dose) {}

std::unique_ptr<Term::Evaluation> MeanDoseTerm::begin(const DoseState& state, std::size_t n_pieces) const {
    return std::make_unique<At>(*this, state, n_pieces);
}

} // namespace brimstone
