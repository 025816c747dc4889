#include "brimstone/kl_divergence.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

#include "brimstone/parallel.hpp"

namespace brimstone {

namespace {

constexpr std::size_t voxels_per_piece = 8192;
constexpr double max_bins = 1e7;

/// Where a dose falls: between bin `index` and the next one, `fraction` of the way.
struct BinPosition {
    std::size_t index;
    double fraction;
};

BinPosition locate(double dose, double bins_per_gray, int padding) {
    const double position = dose * bins_per_gray;
    const double whole = std::floor(position);
    return {static_cast<std::size_t>(static_cast<std::ptrdiff_t>(whole) + padding), position - whole};
}

double interpolate(const std::vector<double>& bins, const BinPosition& at) {
    return bins[at.index] + at.fraction * (bins[at.index + 1] - bins[at.index]);
}

std::vector<double> smoothed_to_one(const std::vector<double>& density, const GaussianKernel& kernel) {
    std::vector<double> result(density.size(), 0.0);
    kernel.add_convolution(density, result);
    double sum = 0.0;
    for (const double value : result) {
        sum += value;
    }
    for (double& value : result) {
        value /= sum;
    }
    return result;
}

} // namespace

KlDivergenceTerm::KlDivergenceTerm(VoxelShares shares, const TargetDvh& target, KlDirection direction,
                                   double weight, const BinSettings& bins)
    : shares_(std::move(shares)), direction_(direction), weight_(weight), bins_(bins),
      target_low_(target.lowest_dose()), target_high_(target.highest_dose()),
      wide_(std::sqrt(bins.variance_max), bins.bin_width, bins.kernel_reach),
      narrow_(std::sqrt(bins.variance_min), bins.bin_width, bins.kernel_reach),
      padding_(std::max(wide_.half_width(), narrow_.half_width()) + 1) {
    const auto top = static_cast<std::ptrdiff_t>(std::ceil(target.highest_dose() / bins.bin_width)) + 1;
    std::vector<double> raw(static_cast<std::size_t>(top + 2 * padding_ + 1), 0.0);
    for (std::size_t k = 0; k < raw.size(); ++k) {
        const double dose = (static_cast<double>(k) - padding_) * bins.bin_width;
        raw[k] = target.bin_volume(dose, bins.bin_width);
    }
    wide_target_ = smoothed_to_one(raw, wide_);
    narrow_target_ = smoothed_to_one(raw, narrow_);
}

std::vector<double> KlDivergenceTerm::target(double wide_share) const {
    std::vector<double> q(wide_target_.size());
    for (std::size_t k = 0; k < q.size(); ++k) {
        q[k] = wide_share * wide_target_[k] + (1.0 - wide_share) * narrow_target_[k];
    }
    return q;
}

KlDivergenceTerm::Deposit KlDivergenceTerm::deposit(const DoseState& state, int threads) const {
    const double bins_needed = state.maximum / bins_.bin_width;
    if (!(bins_needed < max_bins)) {
        throw std::overflow_error("a voxel's dose of " + std::to_string(state.maximum) +
                                  " Gy is too high for bins of " + std::to_string(bins_.bin_width) +
                                  " Gy; the reference dose is " + std::to_string(bins_.reference_dose) +
                                  " Gy");
    }
    const std::size_t bins =
        std::max(static_cast<std::size_t>(bins_needed) + 2 + 2 * static_cast<std::size_t>(padding_),
                 wide_target_.size());
    const std::size_t voxels = shares_.voxel.size();
    const std::size_t pieces = std::max<std::size_t>(1, (voxels + voxels_per_piece - 1) / voxels_per_piece);
    const double bins_per_gray = 1.0 / bins_.bin_width;

    std::vector<double> partial(pieces * 2 * bins, 0.0);
    parallel_pieces(voxels, voxels_per_piece, threads,
                    [&](std::size_t piece, std::size_t begin, std::size_t end) {
                        double* const wide = partial.data() + piece * 2 * bins;
                        double* const narrow = wide + bins;
                        for (std::size_t i = begin; i < end; ++i) {
                            const std::size_t voxel = shares_.voxel[i];
                            const BinPosition at = locate(state.dose(voxel), bins_per_gray, padding_);
                            const double wide_volume = shares_.share[i] * state.wide_share(voxel);
                            const double narrow_volume = shares_.share[i] - wide_volume;
                            wide[at.index] += wide_volume * (1.0 - at.fraction);
                            wide[at.index + 1] += wide_volume * at.fraction;
                            narrow[at.index] += narrow_volume * (1.0 - at.fraction);
                            narrow[at.index + 1] += narrow_volume * at.fraction;
                        }
                    });

    Deposit sum{std::vector<double>(bins, 0.0), std::vector<double>(bins, 0.0)};
    for (std::size_t piece = 0; piece < pieces; ++piece) {
        const double* const wide = partial.data() + piece * 2 * bins;
        for (std::size_t k = 0; k < bins; ++k) {
            sum.wide[k] += wide[k];
            sum.narrow[k] += wide[bins + k];
        }
    }
    return sum;
}

std::vector<double> KlDivergenceTerm::smooth(const Deposit& deposit) const {
    std::vector<double> histogram(deposit.wide.size(), 0.0);
    wide_.add_convolution(deposit.wide, histogram);
    narrow_.add_convolution(deposit.narrow, histogram);
    return histogram;
}

std::vector<double> KlDivergenceTerm::histogram(const DoseState& state, int threads) const {
    return smooth(deposit(state, threads));
}

/// ε, falling off exponentially outside the target's doses, so that even the farthest voxel is drawn home.
double KlDivergenceTerm::tail(std::size_t bin) const {
    const double dose = (static_cast<double>(bin) - padding_) * bins_.bin_width;
    const double outside = std::max({0.0, target_low_ - dose, dose - target_high_}) / bins_.reference_dose;
    constexpr double farthest = 20.0; // decay lengths; beyond, ratios to the tail would drown all else
    return bins_.floor * std::exp(-std::min(farthest, outside / bins_.tail_length));
}

/// Share of the wide kernel in the target.
double KlDivergenceTerm::target_wide_share(const Deposit& deposit) const {
    if (bins_.target_smoothing == TargetSmoothing::half) {
        return 0.5;
    }
    double share = 0.0;
    for (const double volume : deposit.wide) {
        share += volume;
    }
    return share;
}

KlDivergenceTerm::BinCost KlDivergenceTerm::bin_cost(double calculated, double target,
                                                     std::size_t bin) const {
    const double density = bins_.reference_dose / bins_.bin_width;
    const double floor = bins_.floor;
    const double own_tail = bins_.tail_length > 0.0 ? tail(bin) : 0.0;
    const double p = calculated * density;
    const double q = target * density + own_tail;
    if (direction_ == KlDirection::target_calculated) {
        const double ratio = q / (p + floor);
        const double log_ratio = std::log(ratio + floor);
        return {q * log_ratio, -q * ratio / ((ratio + floor) * (p + floor)),
                log_ratio + ratio / (ratio + floor)};
    }
    const double reference = bins_.tail_length > 0.0 ? q : q + floor;
    const double ratio = p / reference;
    const double log_ratio = std::log(ratio + floor);
    return {p * log_ratio, log_ratio + ratio / (ratio + floor), -p * ratio / ((ratio + floor) * reference)};
}

double KlDivergenceTerm::divergence(const std::vector<double>& histogram, double wide_share) const {
    std::vector<double> q = target(wide_share);
    q.resize(histogram.size(), 0.0);
    double sum = 0.0;
    for (std::size_t k = 0; k < histogram.size(); ++k) {
        sum += bin_cost(histogram[k], q[k], k).value;
    }
    return sum * bins_.bin_width / bins_.reference_dose;
}

double KlDivergenceTerm::cost(const DoseState& state, int threads) const {
    const Deposit volumes = deposit(state, threads);
    return weight_ * divergence(smooth(volumes), target_wide_share(volumes));
}

double KlDivergenceTerm::cost_and_residual(const DoseState& state, std::vector<double>& residual,
                                           int threads) const {
    const Deposit volumes = deposit(state, threads);
    const std::vector<double> p = smooth(volumes);
    const double target_share = target_wide_share(volumes);
    std::vector<double> q = target(target_share);
    q.resize(p.size(), 0.0);
    std::vector<double> slope(p.size());
    double cost = 0.0;
    double share_slope = 0.0; // of the cost with respect to the wide kernel's share in the target
    for (std::size_t k = 0; k < p.size(); ++k) {
        const BinCost bin = bin_cost(p[k], q[k], k);
        cost += bin.value;
        slope[k] = bin.calculated_slope;
        if (k < wide_target_.size()) {
            share_slope += bin.target_slope * (wide_target_[k] - narrow_target_[k]);
        }
    }
    if (bins_.target_smoothing == TargetSmoothing::half) {
        share_slope = 0.0;
    }

    std::vector<double> wide(p.size(), 0.0);
    std::vector<double> narrow(p.size(), 0.0);
    wide_.add_convolution(slope, wide);
    narrow_.add_convolution(slope, narrow);
    const double bins_per_gray = 1.0 / bins_.bin_width;
    parallel_pieces(shares_.voxel.size(), voxels_per_piece, threads,
                    [&](std::size_t, std::size_t begin, std::size_t end) {
                        for (std::size_t i = begin; i < end; ++i) {
                            const std::size_t voxel = shares_.voxel[i];
                            const double dose = state.dose(voxel);
                            const double f = state.wide_share(voxel);
                            const BinPosition at = locate(dose, bins_per_gray, padding_);
                            const double v = weight_ * shares_.share[i];
                            const double wide_slope = wide[at.index + 1] - wide[at.index];
                            const double narrow_slope = narrow[at.index + 1] - narrow[at.index];
                            const double along_dose =
                                v * (f * wide_slope + (1.0 - f) * narrow_slope) * bins_per_gray;
                            const double share_gain =
                                interpolate(wide, at) - interpolate(narrow, at) + share_slope;
                            const double along_share = dose > 0.0 ? v * share_gain / dose : 0.0;
                            residual[2 * voxel] += along_dose - along_share * f;
                            residual[2 * voxel + 1] += along_share;
                        }
                    });
    return weight_ * cost * bins_.bin_width / bins_.reference_dose;
}

} // namespace brimstone
