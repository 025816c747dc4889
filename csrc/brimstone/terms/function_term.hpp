#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "brimstone/terms/dose_map.hpp"
#include "brimstone/terms/term.hpp"

namespace brimstone {

/// weight · f(doses of a structure's voxels, or a quantity of theirs), where f is anybody's.
class FunctionTerm final : public Term {
public:
    /// Gets quantities and volume shares, which sum to 1; returns its value and, when there is a place for
    /// it, writes its gradient there.
    using Function = std::function<double(const std::vector<double>& quantity,
                                          const std::vector<double>& share, double* gradient)>;

    FunctionTerm(Quantity quantity, Function function, double weight);

    std::unique_ptr<Evaluation> begin(const DoseState& state, std::size_t n_pieces) const override;

private:
    class At;

    const std::vector<double>& share() const { return share_.empty() ? quantity_.shares->share : share_; }

    Quantity quantity_;
    Function function_;
    double weight_;
    std::vector<double>
        share_; ///< with those of voxels that no beamlet reaches behind; empty if there are none
};

} // namespace brimstone
