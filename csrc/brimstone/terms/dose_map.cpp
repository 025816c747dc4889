#include "brimstone/terms/dose_map.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

namespace brimstone {

double DoseQuadratic::inverse(double quantity) const {
    const double rest = quantity - c0;
    if (!(rest > 0.0)) {
        return rest < 0.0 ? -1.0 : 0.0;
    }
    return 2.0 * rest / (c1 + std::sqrt(c1 * c1 + 4.0 * c2 * rest)); // cancels no digits, also for c2 = 0
}

DoseMap::DoseMap(const VoxelShares& shares, DoseMapSpecification specification)
    : typical_(specification.typical), fixed_quantity_(std::move(specification.fixed_quantity)),
      fixed_share_(std::move(specification.fixed_share)) {
    const std::vector<DoseQuadratic>& quadratic = specification.quadratic;
    c0_.reserve(quadratic.size());
    c1_.reserve(quadratic.size());
    c2_.reserve(quadratic.size());
    for (const DoseQuadratic& q : quadratic) {
        c0_.push_back(q.c0);
        c1_.push_back(q.c1);
        c2_.push_back(q.c2);
    }
    for (const double quantity : fixed_quantity_) {
        highest_fixed_ = std::max(highest_fixed_, quantity);
    }
    if (is_uniform()) {
        return;
    }
    for (std::size_t i = 0; i < shares.voxel.size(); ++i) {
        const std::size_t number = shares.voxel[i] / DoseState::block;
        if (block_.empty() || block_.back() != number) {
            block_.push_back(number);
            block_quadratic_.push_back({0.0, 0.0, 0.0});
        }
        DoseQuadratic& highest = block_quadratic_.back();
        highest.c0 = std::max(highest.c0, c0_[i]);
        highest.c1 = std::max(highest.c1, c1_[i]);
        highest.c2 = std::max(highest.c2, c2_[i]);
    }
}

double DoseMap::highest(const DoseState& state) const {
    if (is_uniform()) {
        return std::max(highest_fixed_, at(0).value(state.maximum()));
    }
    double highest = highest_fixed_;
    for (std::size_t b = 0; b < block_.size(); ++b) {
        highest = std::max(highest, block_quadratic_[b].value(state.block_maximum(block_[b])));
    }
    return highest;
}

SharedMap DoseMap::coarser(const VoxelShares& finer, const std::vector<std::uint32_t>& voxel,
                           const VoxelShares& coarse) const {
    DoseMapSpecification result{{at(0)}, typical_, fixed_quantity_, fixed_share_};
    if (!is_uniform()) {
        result.quadratic.assign(coarse.voxel.size(), {0.0, 0.0, 0.0});
        std::vector<std::uint32_t> entry(coarse.voxel.empty() ? 0 : coarse.voxel.back() + 1U);
        for (std::size_t i = 0; i < coarse.voxel.size(); ++i) {
            entry[coarse.voxel[i]] = static_cast<std::uint32_t>(i);
        }
        for (std::size_t i = 0; i < finer.voxel.size(); ++i) {
            const std::size_t to = entry[voxel[finer.voxel[i]]];
            const double part = finer.share[i] / coarse.share[to];
            DoseQuadratic& mean = result.quadratic[to];
            mean.c0 += part * c0_[i];
            mean.c1 += part * c1_[i];
            mean.c2 += part * c2_[i];
        }
    }
    return std::make_shared<const DoseMap>(coarse, std::move(result));
}

} // namespace brimstone
