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
        const VoxelShares& shares = *term_.quantity_.shares;
        with_quantity(term_.quantity_.map.get(), [&](const auto& quantity) {
            partial_[piece.number] =
                sum_over(shares.position(piece.begin), shares.position(piece.end), [&](std::size_t i) {
                    return shares.share[i] * quantity(i, state_.dose()[shares.voxel[i]]);
                });
        });
    }

    double finish(bool) override {
        const double mean = sum_of(partial_) + term_.fixed_mean_;
        const double excess = std::max(0.0, mean - term_.limit_) / term_.reference_;
        slope_ = 2.0 * term_.weight_ * excess / term_.reference_;
        return term_.weight_ * excess * excess;
    }

    void add_residual(std::size_t first, std::size_t last, const Residual& residual) const override {
        if (slope_ == 0.0) {
            return;
        }
        const VoxelShares& shares = *term_.quantity_.shares;
        const std::size_t end = shares.position(last);
        const double slope = slope_ * residual.scale;
        with_quantity(term_.quantity_.map.get(), [&](const auto& quantity) {
            for (std::size_t i = shares.position(first); i < end; ++i) {
                const std::size_t voxel = shares.voxel[i];
                residual.dose[voxel - residual.first_voxel] +=
                    slope * shares.share[i] * quantity.slope(i, state_.dose()[voxel]);
            }
        });
    }

private:
    const MeanDoseTerm& term_;
    const DoseState& state_;
    std::vector<double> partial_;
    double slope_ = 0.0;
};

MeanDoseTerm::MeanDoseTerm(Quantity quantity, double limit, double weight, double reference)
    : quantity_(std::move(quantity)), limit_(limit), weight_(weight), reference_(reference) {
    if (quantity_.map) {
        const DoseMap& map = *quantity_.map;
        fixed_mean_ = sum_over(0, map.fixed_share().size(),
                               [&](std::size_t i) { return map.fixed_share()[i] * map.fixed_quantity()[i]; });
    }
}

std::unique_ptr<Term::Evaluation> MeanDoseTerm::begin(const DoseState& state, std::size_t n_pieces) const {
    return std::make_unique<At>(*this, state, n_pieces);
}

} // namespace brimstone
