#pragma once

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings/arrays.hpp"
#include "brimstone/terms/dose_state.hpp"
#include "brimstone/terms/target_dvh.hpp"
#include "brimstone/terms/voxel_shares.hpp"

namespace brimstone::bindings {

inline TargetDvh to_target(const Array<double>& dvh) {
    if (dvh.ndim() != 2 || dvh.shape(1) != 2 || dvh.shape(0) < 2) {
        throw std::invalid_argument("a target DVH must be an array of at least two (dose, volume) rows");
    }
    std::vector<TargetDvh::Point> points;
    for (py::ssize_t i = 0; i < dvh.shape(0); ++i) {
        points.push_back({at_least(0.0, dvh.at(i, 0), "dose of a target DVH"),
                          share(dvh.at(i, 1), "volume of a target DVH")});
        if (i > 0 && (points[i].dose < points[i - 1].dose || points[i].volume > points[i - 1].volume)) {
            throw std::invalid_argument("a target DVH must have ascending doses and non-increasing volumes");
        }
    }
    if (points.front().volume != 1.0 || points.back().volume != 0.0) {
        throw std::invalid_argument("a target DVH must fall from volume 1 to 0");
    }
    return TargetDvh(std::move(points));
}

inline SharedShares to_shares(const Array<std::uint32_t>& voxel, const Array<double>& volume,
                              std::size_t n_voxels) {
    std::vector<std::uint32_t> voxels = to_vector(voxel, "voxel");
    std::vector<double> shares = to_amounts(volume, voxels.size(), "share");
    double sum = 0.0;
    for (std::size_t i = 0; i < voxels.size(); ++i) {
        if (voxels[i] >= n_voxels) {
            throw std::invalid_argument("voxel " + std::to_string(voxels[i]) +
                                        " of a structure is not among the " + std::to_string(n_voxels) +
                                        " voxels");
        }
        if (i > 0 && voxels[i] <= voxels[i - 1]) {
            throw std::invalid_argument("the voxels of a structure must ascend");
        }
        sum += shares[i];
    }
    constexpr double rounding = 1e-6;
    if (!(std::fabs(sum - 1.0) <= rounding)) {
        refuse("the sum of a structure's volume shares", sum, "1");
    }
    return std::make_shared<const VoxelShares>(std::move(voxels), std::move(shares));
}

inline DoseState to_state(const Array<double>& dose, const Array<double>& wide_share, std::size_t n_voxels) {
    const std::vector<double> d = to_amounts(dose, n_voxels, "dose");
    const std::vector<double> f = to_amounts(wide_share, d.size(), "wide_share");
    DoseState state;
    state.resize(d.size());
    for (std::size_t j = 0; j < d.size(); ++j) {
        state.dose()[j] = d[j];
        state.wide_dose()[j] = d[j] * share(f[j], "wide_share");
    }
    state.find_maximum(1);
    return state;
}

} // namespace brimstone::bindings
