#pragma once

#include <memory>

#include "brimstone/terms/term.hpp"
#include "brimstone/terms/voxel_shares.hpp"

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

} // namespace brimstone
