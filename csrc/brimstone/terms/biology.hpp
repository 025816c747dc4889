#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <vector>

#include "brimstone/matrix/dose_matrix.hpp"
#include "brimstone/terms/dose_state.hpp"
#include "brimstone/terms/term.hpp"

namespace brimstone {

/// What terms may look at: dose, or what follows from further matrices and the weights w.
enum class Channel {
    dose,
    alpha_dose,     ///< a = A w
    sqrt_beta_dose, ///< b = B w
    effect,         ///< E = a + b²
    rbe_dose,       ///< R = 2E / (αx + √(αx² + 4 βx E)): dose of photons with the same effect
    let_dose,       ///< l = L w
    let,            ///< l over dose; 0 where there is no dose
};
constexpr std::size_t n_channels = 7;

/// A matrix beside that of dose.
struct FurtherMatrix {
    std::shared_ptr<const DoseMatrix> matrix; ///< or null
    std::vector<double> base;                 ///< product of beamlets that no weight here changes; or empty
};

/// Matrices of alpha-weighted, root-beta-weighted and LET-weighted dose, and the tissue of every row.
struct Biology {
    static constexpr std::size_t alpha = 0, sqrt_beta = 1, let = 2, n_matrices = 3;

    std::array<FurtherMatrix, n_matrices> further;
    std::vector<double> alpha_x; ///< 1/Gy
    std::vector<double> beta_x;  ///< 1/Gy², of all fractions together

    /// Whether there are the matrices that a channel follows from.
    bool can_give(Channel channel) const;
};

/// What follows from further matrices in all voxels. All of it has the wide share of dose, which is one of
/// beamlets.
class BiologicalState {
public:
    /// Makes room for the products of the matrices that there are.
    void resize(std::size_t voxels, const Biology& biology);
    double* product(std::size_t matrix) { return product_[matrix].data(); }
    const double* product(std::size_t matrix) const { return product_[matrix].data(); }

    /// Lets channels follow products and doses that have been written.
    void update(const Biology& biology, const std::vector<Channel>& channels, const DoseState& dose,
                int threads);
    const DoseState& of(Channel channel) const { return state_[static_cast<std::size_t>(channel)]; }

private:
    std::array<std::vector<double>, Biology::n_matrices> product_;
    std::array<DoseState, n_channels> state_; ///< empty for dose
};

/// Derivatives of the cost for some consecutive voxels, by dose, wide dose and the products of the matrices
/// that there are.
struct BiologicalResidual {
    double* dose;
    double* wide_dose;
    std::array<double*, Biology::n_matrices> product;
};

/// Adds the derivatives by a channel and its wide part, for voxels [begin, end), to those by what it
/// follows from.
void add_chain(Channel channel, const Biology& biology, const DoseState& dose, const BiologicalState& state,
               std::size_t begin, std::size_t end, const Residual& by_channel,
               const BiologicalResidual& residual);

} // namespace brimstone
