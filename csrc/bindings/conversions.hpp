#pragma once

#include <utility>
#include <vector>

#include "bindings/arrays.hpp"
#include "brimstone/terms/target_dvh.hpp"
#include "brimstone/terms/term.hpp"

namespace brimstone::bindings {

inline std::vector<TargetDvh::Point> to_points(const Array<double>& dvh) {
    if (dvh.ndim() != 2 || dvh.shape(1) != 2 || dvh.shape(0) < 2) {
        throw std::invalid_argument("a target DVH must be an array of at least two (dose, volume) rows");
    }
    std::vector<TargetDvh::Point> points;
    for (py::ssize_t i = 0; i < dvh.shape(0); ++i) {
        points.push_back({dvh.at(i, 0), dvh.at(i, 1)});
    }
    return points;
}

inline SharedShares to_shares(const Array<std::uint32_t>& voxel, const Array<double>& share,
                              std::size_t n_voxels) {
    auto shares = std::make_shared<const VoxelShares>(to_vector(voxel, "voxel"),
                                                      to_vector_of(share, voxel.size(), "share"));
    for (const std::uint32_t j : shares->voxel) {
        if (j >= n_voxels) {
            throw std::invalid_argument("voxel " + std::to_string(j) + " of a structure is not among the " +
                                        std::to_string(n_voxels) + " voxels");
        }
    }
    return shares;
}

inline DoseState to_state(const Array<double>& dose, const Array<double>& wide_share) {
    const std::vector<double> d = to_vector(dose, "dose");
    const std::vector<double> f = to_vector_of(wide_share, d.size(), "wide_share");
    DoseState state;
    state.resize(d.size());
    for (std::size_t j = 0; j < d.size(); ++j) {
        state.dose()[j] = d[j];
        state.wide_dose()[j] = d[j] * f[j];
    }
    state.find_maximum(1);
    return state;
}

} // namespace brimstone::bindings
