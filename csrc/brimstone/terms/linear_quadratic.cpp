#include "brimstone/terms/linear_quadratic.hpp"

#include <cmath>

#include "brimstone/support/parallel.hpp"

namespace brimstone {

namespace {

constexpr std::size_t voxels_per_piece = 4096;

/// Its inverse is the slope of the RBE-weighted dose over the effect.
double root(const LinearQuadratic& matrices, std::size_t voxel, double effect) {
    return std::sqrt(matrices.alpha_x[voxel] * matrices.alpha_x[voxel] +
                     4.0 * matrices.beta_x[voxel] * effect);
}

} // namespace

void BiologicalState::resize(std::size_t voxels) {
    a_.resize(voxels);
    b_.resize(voxels);
}

void BiologicalState::update(const LinearQuadratic& matrices, const DoseState& dose, int threads) {
    effect_.resize(dose.voxels());
    rbe_dose_.resize(dose.voxels());
    parallel_pieces(
        dose.voxels(), voxels_per_piece, threads, [&](std::size_t, std::size_t begin, std::size_t end) {
            for (std::size_t j = begin; j < end; ++j) {
                const double effect = a_[j] + b_[j] * b_[j];
                const double wide = dose.dose()[j] > 0.0 ? dose.wide_dose()[j] / dose.dose()[j] : 0.0;
                const double divisor = matrices.alpha_x[j] + root(matrices, j, effect);
                const double rbe_dose = effect > 0.0 ? 2.0 * effect / divisor : 0.0;
                effect_.dose()[j] = effect;
                effect_.wide_dose()[j] = wide * effect;
                rbe_dose_.dose()[j] = rbe_dose;
                rbe_dose_.wide_dose()[j] = wide * rbe_dose;
            }
        });
    effect_.find_maximum(threads);
    rbe_dose_.find_maximum(threads);
}

void add_chain(const LinearQuadratic& matrices, const DoseState& dose, const BiologicalState& state,
               std::size_t begin, std::size_t end, const Residual& effect, const Residual& rbe_dose,
               const BiologicalResidual& residual) {
    const DoseState& effects = state.of(Channel::effect);
    const DoseState& rbe_doses = state.of(Channel::rbe_dose);
    for (std::size_t j = begin; j < end; ++j) {
        const std::size_t i = j - begin;
        const double per_dose = dose.dose()[j] > 0.0 ? 1.0 / dose.dose()[j] : 0.0;
        const double wide = dose.wide_dose()[j] * per_dose;
        const double along_effect = effect.dose[i] + wide * effect.wide_dose[i];
        const double along_rbe_dose = rbe_dose.dose[i] + wide * rbe_dose.wide_dose[i];
        const double along_share =
            effect.wide_dose[i] * effects.dose()[j] + rbe_dose.wide_dose[i] * rbe_doses.dose()[j]; // ∂cost/∂f
        residual.dose[i] -= along_share * wide * per_dose;
        residual.wide_dose[i] += along_share * per_dose;
        const double divisor = root(matrices, j, effects.dose()[j]); // 0 in rows without a voxel
        const double along = along_effect + (divisor > 0.0 ? along_rbe_dose / divisor : 0.0);
        residual.a[i] += along;
        residual.b[i] += 2.0 * state.b()[j] * along;
    }
}

} // namespace brimstone
