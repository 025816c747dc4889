#include "brimstone/terms/biology.hpp"

#include <cmath>

#include "brimstone/support/parallel.hpp"

namespace brimstone {

namespace {

constexpr std::size_t voxels_per_piece = 4096;

/// Its inverse is the slope of the RBE-weighted dose over the effect.
double root(const Biology& biology, std::size_t voxel, double effect) {
    return std::sqrt(biology.alpha_x[voxel] * biology.alpha_x[voxel] + 4.0 * biology.beta_x[voxel] * effect);
}

double inverse_or_zero(double value) {
    return value > 0.0 ? 1.0 / value : 0.0;
}

/// Products of further matrices, where there are some.
struct Products {
    const double* a;
    const double* b;
    const double* l;

    double effect(std::size_t voxel) const { return a[voxel] + b[voxel] * b[voxel]; }
};

Products products_of(const BiologicalState& state) {
    return {state.product(Biology::alpha), state.product(Biology::sqrt_beta), state.product(Biology::let)};
}

double value_of(Channel channel, const Biology& biology, const Products& product, std::size_t voxel,
                double dose) {
    switch (channel) {
    case Channel::dose:
        break;
    case Channel::alpha_dose:
        return product.a[voxel];
    case Channel::sqrt_beta_dose:
        return product.b[voxel];
    case Channel::effect:
        return product.effect(voxel);
    case Channel::rbe_dose: {
        const double effect = product.effect(voxel);
        const double divisor = biology.alpha_x[voxel] + root(biology, voxel, effect);
        return effect > 0.0 ? 2.0 * effect / divisor : 0.0;
    }
    case Channel::let_dose:
        return product.l[voxel];
    case Channel::let:
        return product.l[voxel] * inverse_or_zero(dose);
    }
    return dose;
}

} // namespace

bool Biology::can_give(Channel channel) const {
    const auto has = [&](std::size_t number) { return further[number].matrix != nullptr; };
    switch (channel) {
    case Channel::dose:
        break;
    case Channel::alpha_dose:
        return has(alpha);
    case Channel::sqrt_beta_dose:
        return has(sqrt_beta);
    case Channel::effect:
    case Channel::rbe_dose:
        return has(alpha) && has(sqrt_beta);
    case Channel::let_dose:
    case Channel::let:
        return has(let);
    }
    return true;
}

void BiologicalState::resize(std::size_t voxels, const Biology& biology) {
    for (std::size_t m = 0; m < Biology::n_matrices; ++m) {
        product_[m].resize(biology.further[m].matrix ? voxels : 0);
    }
}

void BiologicalState::update(const Biology& biology, const std::vector<Channel>& channels,
                             const DoseState& dose, int threads) {
    const Products product = products_of(*this);
    for (const Channel channel : channels) {
        DoseState& state = state_[static_cast<std::size_t>(channel)];
        state.resize(dose.voxels());
        parallel_pieces(dose.voxels(), voxels_per_piece, threads,
                        [&](std::size_t, std::size_t begin, std::size_t end) {
                            for (std::size_t j = begin; j < end; ++j) {
                                const double of_dose = dose.dose()[j];
                                const double wide = dose.wide_dose()[j] * inverse_or_zero(of_dose);
                                const double value = value_of(channel, biology, product, j, of_dose);
                                state.dose()[j] = value;
                                state.wide_dose()[j] = wide * value;
                            }
                        });
        state.find_maximum(threads);
    }
}

void add_chain(Channel channel, const Biology& biology, const DoseState& dose, const BiologicalState& state,
               std::size_t begin, std::size_t end, const Residual& by_channel,
               const BiologicalResidual& residual) {
    const Products product = products_of(state);
    const DoseState& channel_state = state.of(channel);
    for (std::size_t j = begin; j < end; ++j) {
        const std::size_t i = j - begin;
        const double value = channel_state.dose()[j];
        const double per_dose = inverse_or_zero(dose.dose()[j]);
        const double wide = dose.wide_dose()[j] * per_dose;
        const double along = by_channel.dose[i] + wide * by_channel.wide_dose[i];
        const double along_share = by_channel.wide_dose[i] * value;
        residual.dose[i] -= along_share * wide * per_dose;
        residual.wide_dose[i] += along_share * per_dose;
        const auto add_effect = [&](double along_effect) {
            residual.product[Biology::alpha][i] += along_effect;
            residual.product[Biology::sqrt_beta][i] += 2.0 * product.b[j] * along_effect;
        };
        switch (channel) {
        case Channel::dose:
            break;
        case Channel::alpha_dose:
            residual.product[Biology::alpha][i] += along;
            break;
        case Channel::sqrt_beta_dose:
            residual.product[Biology::sqrt_beta][i] += along;
            break;
        case Channel::effect:
            add_effect(along);
            break;
        case Channel::rbe_dose:
            add_effect(along * inverse_or_zero(root(biology, j, product.effect(j)))); // 0 in empty rows
            break;
        case Channel::let_dose:
            residual.product[Biology::let][i] += along;
            break;
        case Channel::let:
            residual.product[Biology::let][i] += along * per_dose;
            residual.dose[i] -= along * value * per_dose;
            break;
        }
    }
}

} // namespace brimstone
