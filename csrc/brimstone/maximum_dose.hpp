#pragma once

#include "brimstone/term.hpp"

namespace brimstone {

/// weight · Σ_j v_j [max(0, d_j − limit) / d_ref]²: keeps single hot voxels down, which a DVH hardly sees.
class MaximumDoseTerm final : public Term {
public:
    MaximumDoseTerm(VoxelShares shares, double limit, double weight, double reference_dose);

    double cost(const DoseState& state, int threads) const override;
    double cost_and_residual(const DoseState& state, std::vector<double>& residual,
                             int threads) const override;

private:
    VoxelShares shares_;
    double limit_;
    double weight_;
    double reference_dose_;
};

} // namespace brimstone
