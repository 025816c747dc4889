#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "brimstone/matrix/dose_matrix.hpp"
#include "brimstone/terms/dose_state.hpp"
#include "brimstone/terms/term.hpp"

namespace brimstone {

/// What terms may look at beside dose, where there are matrices for it.
enum class Channel {
    dose,
    effect,   ///< E = a + b², with a = A w and b = B w
    rbe_dose, ///< R = 2E / (αx + √(αx² + 4 βx E)): dose of photons with the same effect
};

/// The matrices A and B of alpha-weighted and root-beta-weighted dose, and the tissue of every row.
struct LinearQuadratic {
    std::shared_ptr<const DoseMatrix> alpha;
    std::shared_ptr<const DoseMatrix> sqrt_beta;
    std::vector<double> alpha_x; ///< 1/Gy
    std::vector<double> beta_x;  ///< 1/Gy², of all fractions together
    std::vector<double> base_a;  ///< of beamlets that no weight here changes; or empty
    std::vector<double> base_b;
};

/// Effect and RBE-weighted dose of all voxels. Both have the wide share of dose, which is one of beamlets.
class BiologicalState {
public:
    void resize(std::size_t voxels);
    double* a() { return a_.data(); }
    double* b() { return b_.data(); }
    const double* a() const { return a_.data(); }
    const double* b() const { return b_.data(); }

    /// Follows a, b and the doses that have been written.
    void update(const LinearQuadratic& matrices, const DoseState& dose, int threads);
    const DoseState& of(Channel channel) const { return channel == Channel::effect ? effect_ : rbe_dose_; }

private:
    std::vector<double> a_;
    std::vector<double> b_;
    DoseState effect_;
    DoseState rbe_dose_;
};

/// Derivatives of the cost for some consecutive voxels, by dose and wide dose, and by a and b.
struct BiologicalResidual {
    double* dose;
    double* wide_dose;
    double* a;
    double* b;
};

/// Adds the derivatives by effect and RBE-weighted dose and their wide parts, for voxels [begin, end), to
/// those by what they follow from.
void add_chain(const LinearQuadratic& matrices, const DoseState& dose, const BiologicalState& state,
               std::size_t begin, std::size_t end, const Residual& effect, const Residual& rbe_dose,
               const BiologicalResidual& residual);

} // namespace brimstone
