#pragma once

#include <cstdint>
#include <vector>

#include "dose/grid.hpp"

namespace brimstone::dose {

/// Densities on a grid, and which voxels get a dose.
class Patient {
public:
    /// @param density       g/cm³, in C order
    /// @param also_wanted   voxels that get a dose although they are air beside the patient; or null
    /// @param air_density   what is lighter is air
    /// @throws std::invalid_argument  if the grid or a density cannot be
    Patient(const Grid& grid, std::vector<float> density, const std::uint8_t* also_wanted,
            double air_density);

    const Grid& grid() const { return grid_; }
    const std::vector<float>& density() const { return density_; }
    /// Inside the patient, or asked for.
    bool wanted(std::size_t voxel) const { return (flag_[voxel] & wanted_flag) != 0; }
    /// Wanted, or so near to it that what is released there counts.
    bool near(std::size_t voxel) const { return (flag_[voxel] & near_flag) != 0; }

private:
    static constexpr std::uint8_t wanted_flag = 1;
    static constexpr std::uint8_t near_flag = 2;

    void mark_inside(double air_density, const std::uint8_t* also_wanted);
    void mark_near();

    Grid grid_;
    std::vector<float> density_;
    std::vector<std::uint8_t> flag_;
};

} // namespace brimstone::dose
