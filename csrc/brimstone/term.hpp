#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace brimstone {

/// The voxels of a structure on one grid, with the share of its volume that lies in each (they sum to 1).
struct VoxelShares {
    std::vector<std::uint32_t> voxel;
    std::vector<double> share;
};

/// Two numbers for every voxel, the first ones of all before the second ones, as products with the dose
/// matrix give and take them.
class VoxelPairs {
public:
    explicit VoxelPairs(std::size_t voxels = 0) : value_(2 * voxels, 0.0) {}

    std::size_t voxels() const { return value_.size() / 2; }
    void resize(std::size_t voxels) { value_.resize(2 * voxels); }

    double* data() { return value_.data(); }
    const double* data() const { return value_.data(); }
    double* dose() { return value_.data(); }
    const double* dose() const { return value_.data(); }
    double* wide_dose() { return value_.data() + voxels(); }
    const double* wide_dose() const { return value_.data() + voxels(); }

private:
    std::vector<double> value_;
};

/// Dose d_j and wide dose (D(φ∘w))_j, the part of the dose that is binned with the wide kernel, of all voxels
/// of interest, in Gy.
struct DoseState : VoxelPairs {
    double maximum = 0.0;
};

/// Derivatives of the cost with respect to the doses and the wide doses.
using Residual = VoxelPairs;

/// One summand of the cost, a function of the dose in one structure.
class Term {
public:
    Term() = default;
    Term(const Term&) = delete;
    Term& operator=(const Term&) = delete;
    virtual ~Term() = default;

    virtual double cost(const DoseState& state, int threads) const = 0;

    /// The cost; adds its derivatives to `residual`.
    virtual double cost_and_residual(const DoseState& state, Residual& residual, int threads) const = 0;
};

} // namespace brimstone
