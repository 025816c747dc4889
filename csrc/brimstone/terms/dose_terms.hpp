#pragma once

#include <functional>

#include "brimstone/terms/term.hpp"

namespace brimstone {

/// weight · Σ_j v_j [max(0, ±(d_j − limit)) / d_ref]²: keeps single hot or cold voxels away, which a DVH
/// hardly sees.
class DoseLimitTerm final : public Term {
public:
    enum class Side { maximum, minimum };

    DoseLimitTerm(SharedShares shares, Side side, double limit, double weight, double reference_dose);

    std::unique_ptr<Evaluation> begin(const DoseState& state, std::size_t n_pieces) const override;

private:
    class At;

    SharedShares shares_;
    double sign_; ///< +1: doses above the limit count, −1: those below
    double limit_;
    double weight_;
    double reference_dose_;
};

/// weight · [max(0, Σ_j v_j d_j − limit) / d_ref]²: presses evenly on all voxels of a structure.
class MeanDoseTerm final : public Term {
public:
    MeanDoseTerm(SharedShares shares, double limit, double weight, double reference_dose);

    std::unique_ptr<Evaluation> begin(const DoseState& state, std::size_t n_pieces) const override;

private:
    class At;

    SharedShares shares_;
    double limit_;
    double weight_;
    double reference_dose_;
};

/// weight · f(doses of a structure's voxels), where f is anybody's.
class FunctionTerm final : public Term {
public:
    /// Gets doses in Gy and volume shares, which sum to 1; returns its value and, when there is a place for
    /// it, writes its gradient there, in 1/Gy.
    using Function = std::function<double(const std::vector<double>& dose, const std::vector<double>& share,
                                          double* gradient)>;

    FunctionTerm(SharedShares shares, Function function, double weight);

    std::unique_ptr<Evaluation> begin(const DoseState& state, std::size_t n_pieces) const override;

private:
    class At;

    SharedShares shares_;
    Function function_;
    double weight_;
};

} // namespace brimstone
