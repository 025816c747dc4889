#include "brimstone/terms/dose_terms.hpp"

#include <algorithm>
#include <utility>

namespace brimstone {

namespace {

/// Σ of `part(i)` over a range: two sums, so that an addition need not wait for the one before.
template <class Part>
double sum_over(std::size_t begin, std::size_t end, const Part& part) {
    double even = 0.0;
    double odd = 0.0;
    std::size_t i = begin;
    for (; i + 1 < end; i += 2) {
        even += part(i);
        odd += part(i + 1);
    }
    return even + odd + (i < end ? part(i) : 0.0);
}

double sum_of(const std::vector<double>& parts) {
    double sum = 0.0;
    for (const double part : parts) {
        sum += part;
    }
    return sum;
}

} // namespace

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
