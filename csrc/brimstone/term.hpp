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

/// Doses of all voxels of interest. `pair` holds for voxel j its dose d_j at [2j] and its wide dose
/// (D(φ∘w))_j, the part of the dose that is binned with the wide kernel, at [2j + 1]; both in Gy.
struct DoseState {
    std::vector<double> pair;
    double maximum = 0.0;

    std::size_t voxels() const { return pair.size() / 2; }
    double dose(std::size_t voxel) const { return pair[2 * voxel]; }
    /// f_j, the share of the wide kernel.
    double wide_share(std::size_t voxel) const {
        return pair[2 * voxel] > 0.0 ? pair[2 * voxel + 1] / pair[2 * voxel] : 0.0;
    }
};

/// One summand of the cost, a function of the dose in one structure.
class Term {
public:
    Term() = default;
    Term(const Term&) = delete;
    Term& operator=(const Term&) = delete;
    virtual ~Term() = default;

    virtual double cost(const DoseState& state, int threads) const = 0;

    /// The cost; adds its derivatives to `residual`, laid out as `state.pair`.
    virtual double cost_and_residual(const DoseState& state, std::vector<double>& residual,
                                     int threads) const = 0;
};

} // namespace brimstone
