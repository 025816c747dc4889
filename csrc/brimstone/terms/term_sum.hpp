#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "brimstone/terms/term.hpp"

namespace brimstone {

/// The sum of some terms at one dose, and its derivatives.
class TermSum {
public:
    /// @param state  must outlive the sum
    TermSum(const std::vector<const Term*>& terms, const DoseState& state, bool with_residual, int threads);

    double value() const { return value_; }

    /// Writes the derivatives for voxels from `residual.first_voxel` to below `end`; from any thread.
    void residual(const Residual& residual, std::size_t end) const;

private:
    std::vector<std::unique_ptr<Term::Evaluation>> evaluations_;
    double value_ = 0.0;
};

} // namespace brimstone
