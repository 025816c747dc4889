#pragma once

#include <cstddef>
#include <vector>

#include "dose/kernel_tables.hpp"
#include "dose/kernels/kernels.hpp"
#include "dose/settings.hpp"

namespace brimstone::dose {

/// The cumulative kernel of a spectrum: share of the energy that goes into a cone up to a distance in water.
///
/// Linear between the radii of the tables, and tabulated in cells of equal width whose borders are among
/// them.
class PolyKernel {
public:
    /// @throws std::invalid_argument  if the cones do not divide the kernel's angles
    PolyKernel(const KernelTables& tables, const Settings& settings);

    double cell_width_cm() const { return cell_width_; }
    /// Cells of one cone, the last of which has the value at the largest radius and no slope.
    const KernelCell* cone(std::size_t polar) const { return cell_.data() + polar * cells_; }
    float last_cell() const { return static_cast<float>(cells_ - 1); }
    /// Middle of a cone, degrees from the direction of the primary photon.
    double angle_deg(std::size_t polar) const { return angle_[polar]; }

private:
    double cell_width_;
    std::size_t cells_;
    std::vector<double> angle_;
    std::vector<KernelCell> cell_;
};

/// TERMA against radiological depth: collision kerma times the ratio of both in its highest energy, as
/// hardening asks for and OpenTPS's program has it (Hoban, Murray and Round, Phys. Med. Biol. 39 (1994) 669).
class TermaCurve {
public:
    explicit TermaCurve(const KernelTables& tables);

    double operator()(double depth_cm) const;

private:
    static constexpr double per_cm = 50.0;
    static constexpr std::size_t size = 20000; ///< 4 m of water
    std::vector<double> value_;
};

} // namespace brimstone::dose
