#include "brimstone/terms/dose_limit_term.hpp"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "brimstone/terms/sums.hpp"

namespace brimstone {

namespace {

/// For each block of the dose state the lowest dose that gives a voxel of the structure the limit.
std::vector<double> lowest_inverses(const Quantity& quantity, double limit) {
    const std::vector<std::uint32_t>& voxel = quantity.shares->voxel;
    std::vector<double> lowest(voxel.empty() ? 0 : voxel.back() / DoseState::block + 1,
                               std::numeric_limits<double>::infinity());
    for (std::size_t i = 0; i < voxel.size(); ++i) {
        double& of_block = lowest[voxel[i] / DoseState::block];
        of_block = std::min(of_block, quantity.map ? quantity.map->at(i).inverse(limit) : limit);
    }
    return lowest;
}

} // namespace

class DoseLimitTerm::At final : public Term::Evaluation {
public:
    At(const DoseLimitTerm& term, const DoseState& state, std::size_t n_pieces)
        : term_(term), state_(state), partial_(n_pieces, 0.0) {}

    void collect(const Piece& piece) override {
        const VoxelShares& shares = *term_.quantity_.shares;
        with_quantity(term_.quantity_.map.get(), [&](const auto& quantity) {
            for_each_range(piece.begin, piece.end, [&](std::size_t begin, std::size_t end) {
                partial_[piece.number] += sum_over(begin, end, [&](std::size_t i) {
                    const double excess = term_.excess(quantity(i, state_.dose()[shares.voxel[i]]));
                    return excess > 0.0 ? shares.share[i] * excess * excess : 0.0;
                });
            });
        });
    }

    double finish(bool) override { return term_.weight_ * (sum_of(partial_) + term_.fixed_cost_); }

    void add_residual(std::size_t first, std::size_t last, const Residual& residual) const override {
        const VoxelShares& shares = *term_.quantity_.shares;
        with_quantity(term_.quantity_.map.get(), [&](const auto& quantity) {
            for_each_range(first, last, [&](std::size_t begin, std::size_t end) {
                for (std::size_t i = begin; i < end; ++i) {
                    const double dose = state_.dose()[shares.voxel[i]];
                    const double excess = term_.excess(quantity(i, dose));
                    if (excess > 0.0) {
                        residual.dose[shares.voxel[i] - residual.first_voxel] +=
                            term_.weight_ * residual.scale *
                            (term_.sign_ * 2.0 * shares.share[i] * excess / term_.reference_) *
                            quantity.slope(i, dose);
                    }
                }
            });
        });
    }

private:
    /// The entries of voxels [begin, end) that may cost something: a block whose highest dose is below the
    /// limit does not.
    template <class Visit>
    void for_each_range(std::size_t begin, std::size_t end, const Visit& visit) const {
        const VoxelShares& shares = *term_.quantity_.shares;
        std::size_t from = shares.position(begin);
        for (std::size_t first = begin; first < end; first += DoseState::block) {
            const std::size_t to = shares.position(std::min(end, first + DoseState::block));
            if (from < to && !(term_.sign_ > 0.0 && is_cold(first / DoseState::block))) {
                visit(from, to);
            }
            from = to;
        }
    }

    bool is_cold(std::size_t block) const { return state_.block_maximum(block) <= term_.block_limit_[block]; }

    const DoseLimitTerm& term_;
    const DoseState& state_;
    std::vector<double> partial_;
};

DoseLimitTerm::DoseLimitTerm(Quantity quantity, Side side, double limit, double weight, double reference)
    : quantity_(std::move(quantity)), sign_(side == Side::maximum ? 1.0 : -1.0), limit_(limit),
      weight_(weight), reference_(reference), block_limit_(lowest_inverses(quantity_, limit)) {
    if (quantity_.map) {
        const DoseMap& map = *quantity_.map;
        for (std::size_t i = 0; i < map.fixed_quantity().size(); ++i) {
            const double excess = this->excess(map.fixed_quantity()[i]);
            fixed_cost_ += map.fixed_share()[i] * excess * excess;
        }
    }
}

double DoseLimitTerm::excess(double quantity) const {
    const double beyond = sign_ * (quantity - limit_);
    return beyond > 0.0 ? beyond / reference_ : 0.0;
}

std::unique_ptr<Term::Evaluation> DoseLimitTerm::begin(const DoseState& state, std::size_t n_pieces) const {
    return std::make_unique<At>(*this, state, n_pieces);
}

} // namespace brimstone
