#include "brimstone/terms/function_term.hpp"

#include <utility>
#include <vector>

namespace brimstone {

class FunctionTerm::At final : public Term::Evaluation {
public:
    At(const FunctionTerm& term, const DoseState& state)
        : term_(term), state_(state), dose_(term.shares_->voxel.size()) {}

    void collect(const Piece& piece) override {
        const VoxelShares& shares = *term_.shares_;
        const std::size_t end = shares.position(piece.end);
        for (std::size_t i = shares.position(piece.begin); i < end; ++i) {
            dose_[i] = state_.dose()[shares.voxel[i]];
        }
    }

    bool wants_callers_thread() const override { return true; }

    double finish(bool with_residual) override {
        gradient_.resize(with_residual ? dose_.size() : 0);
        return term_.weight_ *
               term_.function_(dose_, term_.shares_->share, with_residual ? gradient_.data() : nullptr);
    }

    void add_residual(std::size_t first, std::size_t last, const Residual& residual) const override {
        const VoxelShares& shares = *term_.shares_;
        const std::size_t end = shares.position(last);
        for (std::size_t i = shares.position(first); i < end; ++i) {
            residual.dose[shares.voxel[i] - residual.first_voxel] += term_.weight_ * gradient_[i];
        }
    }

private:
    const FunctionTerm& term_;
    const DoseState& state_;
    std::vector<double> dose_;
    std::vector<double> gradient_;
};

FunctionTerm::FunctionTerm(SharedShares shares, Function function, double weight)
    : shares_(std::move(shares)), function_(std::move(function)), weight_(weight) {}

std::unique_ptr<Term::Evaluation> FunctionTerm::begin(const DoseState& state, std::size_t) const {
    return std::make_unique<At>(*this, state);
}

} // namespace brimstone
