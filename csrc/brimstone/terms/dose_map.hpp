#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "brimstone/terms/biology.hpp"
#include "brimstone/terms/dose_state.hpp"
#include "brimstone/terms/voxel_shares.hpp"

namespace brimstone {

/// A quantity q(d) = c0 + c1 d + c2 d² of the dose d in one voxel. It never falls as dose rises from 0.
struct DoseQuadratic {
    double c0;
    double c1;
    double c2;

    double value(double dose) const { return c0 + dose * (c1 + c2 * dose); }
    double slope(double dose) const { return c1 + 2.0 * c2 * dose; }
    /// The dose that gives a quantity; negative where less than c0 is asked for, which no dose gives.
    double inverse(double quantity) const;
};

/// What is known of the quantity of a structure, whose voxels are given apart.
struct DoseMapSpecification {
    std::vector<DoseQuadratic> quadratic; ///< of each of its voxels, or one for all
    DoseQuadratic typical;                ///< its mean over the structure: scales the terms
    std::vector<double> fixed_quantity;   ///< of voxels that no beamlet reaches, and that are not listed
    std::vector<double> fixed_share;      ///< share of the structure's volume in each
};

/// The quantity of the voxels of a structure on one grid.
class DoseMap {
public:
    /// @param shares  the structure's voxels; only those that a beamlet reaches, if there is a fixed part
    DoseMap(const VoxelShares& shares, DoseMapSpecification specification);

    bool is_uniform() const { return c0_.size() == 1; }
    /// Coefficients of the structure's voxels, or one of each.
    const double* c0() const { return c0_.data(); }
    const double* c1() const { return c1_.data(); }
    const double* c2() const { return c2_.data(); }
    DoseQuadratic at(std::size_t entry) const {
        const std::size_t i = is_uniform() ? 0 : entry;
        return {c0_[i], c1_[i], c2_[i]};
    }

    const DoseQuadratic& typical() const { return typical_; }
    const std::vector<double>& fixed_quantity() const { return fixed_quantity_; }
    const std::vector<double>& fixed_share() const { return fixed_share_; }

    /// At least the quantity of every voxel of the structure.
    double highest(const DoseState& state) const;

    /// The same structure on a coarser grid, where coefficients are averaged with the volume in each voxel.
    /// @param voxel   for every voxel here its voxel there
    std::shared_ptr<const DoseMap> coarser(const VoxelShares& finer, const std::vector<std::uint32_t>& voxel,
                                           const VoxelShares& coarse) const;

private:
    std::vector<double> c0_;
    std::vector<double> c1_;
    std::vector<double> c2_;
    DoseQuadratic typical_;
    std::vector<double> fixed_quantity_;
    std::vector<double> fixed_share_;
    double highest_fixed_ = 0.0;
    std::vector<std::size_t> block_;             ///< blocks of the dose state with voxels of the structure
    std::vector<DoseQuadratic> block_quadratic_; ///< their highest coefficients; empty if all are one
};

using SharedMap = std::shared_ptr<const DoseMap>;

/// The voxels of a structure, and what of theirs terms look at.
struct Quantity {
    SharedShares shares;
    SharedMap map; ///< from the channel's dose; or null: that itself
    Channel channel = Channel::dose;
};

/// Calls `use(q)`, where q(entry, dose) is the quantity in a voxel and q.slope(entry, dose) its derivative.
template <class Use>
auto with_quantity(const DoseMap* map, const Use& use) {
    struct Dose {
        double operator()(std::size_t, double dose) const { return dose; }
        double slope(std::size_t, double) const { return 1.0; }
    };
    struct One {
        DoseQuadratic q;
        double operator()(std::size_t, double dose) const { return q.value(dose); }
        double slope(std::size_t, double dose) const { return q.slope(dose); }
    };
    struct Each {
        const double* c0;
        const double* c1;
        const double* c2;
        DoseQuadratic at(std::size_t entry) const { return {c0[entry], c1[entry], c2[entry]}; }
        double operator()(std::size_t entry, double dose) const { return at(entry).value(dose); }
        double slope(std::size_t entry, double dose) const { return at(entry).slope(dose); }
    };
    if (map == nullptr) {
        return use(Dose{});
    }
    if (map->is_uniform()) {
        return use(One{map->at(0)});
    }
    return use(Each{map->c0(), map->c1(), map->c2()});
}

} // namespace brimstone
