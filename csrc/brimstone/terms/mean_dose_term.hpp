#pragma once

#include <memory>

#include "brimstone/terms/term.hpp"
#include "brimstone/terms/voxel_shares.hpp"

namespace brimstone {

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

} // namespace brimstone
