#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "brimstone/terms/term.hpp"

namespace brimstone {

/// The sum of some terms at one dose, and its derivatives.
class TermSum {
public:
    /// @param states  what each term looks at, of as many voxels each; must outlive the sum
    TermSum(const std::vector<const Term*>& terms, std::vector<const DoseState*> states, bool with_residual,
            int threads);
    /// @param state  what all terms look at; must outlive the sum
    TermSum(const std::vector<const Term*>& terms, const DoseState& state, bool with_residual, int threads)
        : TermSum(terms, std::vector<const DoseState*>(terms.size(), &state), with_residual, threads) {}

    double value() const { return value_; }

    /// Writes the derivatives for voxels from `residual.first_voxel` to below `end`, of the terms that look
    /// at a state; from any thread.
    void residual(const DoseState& state, const Residual& residual, std::size_t end) const;

private:
    std::vector<const DoseState*> states_;
    std::vector<std::unique_ptr<Term::Evaluation>> evaluations_;
    double value_ = 0.0;
};

} // namespace brimstone
