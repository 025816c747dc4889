#pragma once

#include <memory>

#include "brimstone/terms/dose_map.hpp"
#include "brimstone/terms/term.hpp"

namespace brimstone {

/// weight · [max(0, Σ_j v_j q_j − limit) / q_ref]² of dose, or of a quantity that follows from it: presses
/// evenly on all voxels of a structure.
class MeanDoseTerm final : public Term {
public:
    MeanDoseTerm(Quantity quantity, double limit, double weight, double reference);

    std::unique_ptr<Evaluation> begin(const DoseState& state, std::size_t n_pieces) const override;

private:
    class At;

    Quantity quantity_;
    double limit_;
    double weight_;
    double reference_;
    double fixed_mean_ = 0.0; ///< part of the mean from voxels that no beamlet reaches
};

} // namespace brimstone
