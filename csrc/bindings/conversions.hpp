#pragma once

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings/arrays.hpp"
#include "brimstone/terms/dose_map.hpp"
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

/// @param elsewhere  share of the structure's volume that lies in no voxel
inline SharedShares to_shares(const Array<std::uint32_t>& voxel, const Array<double>& volume,
                              std::size_t n_voxels, double elsewhere = 0.0) {
    std::vector<std::uint32_t> voxels = to_vector(voxel, "voxel");
    std::vector<double> shares = to_amounts(volume, voxels.size(), "share");
    double sum = elsewhere;
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

inline DoseQuadratic to_quadratic(const double* c, const char* name) {
    const DoseQuadratic q{at_least(0.0, c[0], name), at_least(0.0, c[1], name), at_least(0.0, c[2], name)};
    if (q.c1 + q.c2 <= 0.0) {
        refuse(std::string("c1 + c2 of ") + name, q.c1 + q.c2, "above 0");
    }
    return q;
}

/// @param coefficients  c0, c1, c2 of each of a structure's voxels, or one row for all
/// @param typical       c0, c1, c2
/// @param fixed         quantity and volume share of voxels that no beamlet reaches
inline DoseMapSpecification to_map(const Array<double>& coefficients, const Array<double>& typical,
                                   const Array<double>& fixed) {
    if (coefficients.ndim() != 2 || coefficients.shape(1) != 3 || coefficients.shape(0) < 1) {
        throw std::invalid_argument("coefficients must have the shape (voxels, 3)");
    }
    if (typical.ndim() != 1 || typical.shape(0) != 3) {
        throw std::invalid_argument("typical must have the shape (3,)");
    }
    if (fixed.ndim() != 2 || fixed.shape(1) != 2) {
        throw std::invalid_argument("fixed must have the shape (voxels, 2)");
    }
    DoseMapSpecification map{{}, to_quadratic(typical.data(), "typical"), {}, {}};
    for (py::ssize_t i = 0; i < coefficients.shape(0); ++i) {
        map.quadratic.push_back(to_quadratic(coefficients.data(i, 0), "coefficients"));
    }
    for (py::ssize_t i = 0; i < fixed.shape(0); ++i) {
        map.fixed_quantity.push_back(at_least(0.0, fixed.at(i, 0), "quantity of a fixed voxel"));
        map.fixed_share.push_back(share(fixed.at(i, 1), "share of a fixed voxel"));
    }
    return map;
}

/// @param map  or null
inline Quantity to_quantity(const Array<std::uint32_t>& voxel, const Array<double>& volume,
                            std::size_t n_voxels, const DoseMapSpecification* map) {
    if (map == nullptr) {
        return {to_shares(voxel, volume, n_voxels), nullptr};
    }
    double fixed = 0.0;
    for (const double share : map->fixed_share) {
        fixed += share;
    }
    SharedShares shares = to_shares(voxel, volume, n_voxels, fixed);
    if (map->quadratic.size() != 1 && map->quadratic.size() != shares->voxel.size()) {
        throw std::invalid_argument("a map has coefficients of " + std::to_string(map->quadratic.size()) +
                                    " voxels; its structure has " + std::to_string(shares->voxel.size()));
    }
    return {shares, std::make_shared<const DoseMap>(*shares, *map)};
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
