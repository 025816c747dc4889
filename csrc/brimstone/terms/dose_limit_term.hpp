#pragma once

#include <memory>
#include <vector>

#include "brimstone/terms/dose_map.hpp"
#include "brimstone/terms/term.hpp"

namespace brimstone {

/// weight · Σ_j v_j [max(0, ±(q_j − limit)) / q_ref]² of dose, or of a quantity that follows from it: keeps
/// single hot or cold voxels away, which a DVH hardly sees.
class DoseLimitTerm final : public Term {
public:
    enum class Side { maximum, minimum };

    DoseLimitTerm(Quantity quantity, Side side, double limit, double weight, double reference);

    std::unique_ptr<Evaluation> begin(const DoseState& state, std::size_t n_pieces) const override;

private:
    class At;

    double excess(double quantity) const;

    Quantity quantity_;
    double sign_; ///< +1: what is above the limit counts, −1: what is below
    double limit_;
    double weight_;
    double reference_;
    double fixed_cost_ = 0.0; ///< of voxels that no beamlet reaches, before the weight
    std::vector<double>
        block_limit_; ///< of each block of the dose state: the dose up to which nothing counts
};

} // namespace brimstone
