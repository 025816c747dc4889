#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "brimstone/terms/term.hpp"
#include "brimstone/terms/voxel_shares.hpp"

namespace brimstone {

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
