#include "brimstone/terms/function_term.hpp"

#include <algorithm>
#include <utility>
#include <vector>

namespace brimstone {

class FunctionTerm::At final : public Term::Evaluation {
public:
    At(const FunctionTerm& term, const DoseState& state)
        : term_(term), state_(state), value_(term.share().size()) {
        if (!term.share_.empty()) {
            const std::vector<double>& fixed = term.quantity_.map->fixed_quantity();
            std::copy(fixed.rbegin(), fixed.rend(), value_.rbegin());
        }
    }

    void collect(const Piece& piece) override {
        for_each(piece.begin, piece.end, [&](std::size_t i, std::size_t voxel, const auto& quantity) {
            value_[i] = quantity(i, state_.dose()[voxel]);
        });
    }

    bool wants_callers_thread() const override { return true; }

    double finish(bool with_residual) override {
        gradient_.resize(with_residual ? value_.size() : 0);
        return term_.weight_ *
               term_.function_(value_, term_.share(), with_residual ? gradient_.data() : nullptr);
    }

    void add_residual(std::size_t first, std::size_t last, const Residual& residual) const override {
        for_each(first, last, [&](std::size_t i, std::size_t voxel, const auto& quantity) {
            residual.dose[voxel - residual.first_voxel] +=
                term_.weight_ * residual.scale * gradient_[i] * quantity.slope(i, state_.dose()[voxel]);
        });
    }

private:
    template <class Visit>
    void for_each(std::size_t first, std::size_t last, const Visit& visit) const {
        const VoxelShares& shares = *term_.quantity_.shares;
        const std::size_t end = shares.position(last);
        with_quantity(term_.quantity_.map.get(), [&](const auto& quantity) {
            for (std::size_t i = shares.position(first); i < end; ++i) {
                visit(i, shares.voxel[i], quantity);
            }
        });
    }

    const FunctionTerm& term_;
    const DoseState& state_;
    std::vector<double> value_;
    std::vector<double> gradient_;
};

FunctionTerm::FunctionTerm(Quantity quantity, Function function, double weight)
    : quantity_(std::move(quantity)), function_(std::move(function)), weight_(weight) {
    if (quantity_.map && !quantity_.map->fixed_share().empty()) {
        share_ = quantity_.shares->share;
        const std::vector<double>& fixed = quantity_.map->fixed_share();
        share_.insert(share_.end(), fixed.begin(), fixed.end());
    }
}

std::unique_ptr<Term::Evaluation> FunctionTerm::begin(const DoseState& state, std::size_t) const {
    return std::make_unique<At>(*this, state);
}

} // namespace brimstone
