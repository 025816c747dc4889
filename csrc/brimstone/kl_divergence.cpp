#include "brimstone/kl_divergence.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

#include "brimstone/kernels/kernels.hpp"
#include "brimstone/parallel.hpp"

namespace brimstone {

namespace {

constexpr double max_bins = 1e7;
constexpr std::size_t voxels_at_once = 256;

/// Pieces of a structure for the threads, as many whatever their number.
std::size_t piece_size(std::size_t voxels) {
    constexpr std::size_t smallest = 8192;
    constexpr std::size_t most_pieces = 64;
    return std::max(smallest, (voxels + most_pieces - 1) / most_pieces);
}

/// Some voxels of a structure and where their doses fall.
struct LocatedVoxels {
    std::size_t count;
    double dose[voxels_at_once];
    double wide_dose[voxels_at_once];
    std::int32_t bin[voxels_at_once]; ///< the dose is between this bin and the next one,
    double fraction[voxels_at_once];  ///< this fraction of the way,
    double wide[voxels_at_once];      ///< with this volume for the wide kernel
    double narrow[voxels_at_once];    ///< and this one for the narrow kernel

    void locate(const DoseState& state, const VoxelShares& shares, std::size_t begin, std::size_t end,
                double bins_per_gray, int padding) {
        count = std::min(voxels_at_once, end - begin);
        for (std::size_t i = 0; i < count; ++i) {
            dose[i] = state.dose()[shares.voxel[begin + i]];
            wide_dose[i] = state.wide_dose()[shares.voxel[begin + i]];
        }
        kernels().locate(dose, wide_dose, shares.share.data() + begin, count, bins_per_gray, padding, bin,
                         fraction, wide, narrow);
    }
};

/// Volume between two bins: all of it, and its part that belongs to the upper one.
struct Cell {
    double wide = 0.0;
    double narrow = 0.0;
    double wide_above = 0.0;
    double narrow_above = 0.0;
};

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
    const std::size_t pieces =
        std::max<std::size_t>(1, (voxels + piece_size(voxels) - 1) / piece_size(voxels));
    constexpr std::size_t copies = 2; // neighbouring voxels often fall between the same bins
    const double bins_per_gray = 1.0 / bins_.bin_width;

    std::vector<Cell> cells(pieces * copies * bins);
    parallel_pieces(voxels, piece_size(voxels), threads,
                    [&](std::size_t piece, std::size_t begin, std::size_t end) {
                        Cell* const own = cells.data() + piece * copies * bins;
                        LocatedVoxels at;
                        for (; begin < end; begin += at.count) {
                            at.locate(state, shares_, begin, end, bins_per_gray, padding_);
                            for (std::size_t i = 0; i < at.count; ++i) {
                                Cell& cell = own[static_cast<std::size_t>(at.bin[i]) + i % copies * bins];
                                cell.wide += at.wide[i];
                                cell.narrow += at.narrow[i];
                                cell.wide_above += at.wide[i] * at.fraction[i];
                                cell.narrow_above += at.narrow[i] * at.fraction[i];
                            }
                        }
                    });

    Deposit sum{std::vector<double>(bins, 0.0), std::vector<double>(bins, 0.0)};
    for (std::size_t part = 0; part < pieces * copies; ++part) {
        const Cell* const own = cells.data() + part * bins;
        for (std::size_t k = 0; k + 1 < bins; ++k) {
            sum.wide[k] += own[k].wide - own[k].wide_above;
            sum.wide[k + 1] += own[k].wide_above;
            sum.narrow[k] += own[k].narrow - own[k].narrow_above;
            sum.narrow[k + 1] += own[k].narrow_above;
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

double KlDivergenceTerm::cost_and_residual(const DoseState& state, Residual& residual, int threads) const {
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
    std::vector<SlopeCell> cells(p.size() - 1);
    for (std::size_t k = 0; k + 1 < p.size(); ++k) {
        cells[k] = {wide[k], wide[k + 1] - wide[k], narrow[k], narrow[k + 1] - narrow[k]};
    }
    add_residual(state, cells.data(), share_slope, residual, threads);
    return weight_ * cost * bins_.bin_width / bins_.reference_dose;
}

void KlDivergenceTerm::add_residual(const DoseState& state, const SlopeCell* cells, double share_slope,
                                    Residual& residual, int threads) const {
    const double bins_per_gray = 1.0 / bins_.bin_width;
    const std::size_t voxels = shares_.voxel.size();
    double* const along_dose = residual.dose();
    double* const along_wide = residual.wide_dose();
    parallel_pieces(
        voxels, piece_size(voxels), threads, [&](std::size_t, std::size_t begin, std::size_t end) {
            LocatedVoxels at;
            for (; begin < end; begin += at.count) {
                at.locate(state, shares_, begin, end, bins_per_gray, padding_);
                for (std::size_t i = 0; i < at.count; ++i) {
                    const SlopeCell& cell = cells[at.bin[i]];
                    const double dose_slope =
                        weight_ * (at.wide[i] * cell.wide_rise + at.narrow[i] * cell.narrow_rise) *
                        bins_per_gray;
                    const double gain = (cell.wide + at.fraction[i] * cell.wide_rise) -
                                        (cell.narrow + at.fraction[i] * cell.narrow_rise) + share_slope;
                    const double share = shares_.share[begin + i];
                    const double dose = at.dose[i];
                    const double wide_slope = dose > 0.0 ? weight_ * share * gain / dose : 0.0;
                    const double f = dose > 0.0 ? at.wide_dose[i] / dose : 0.0;
                    const std::size_t voxel = shares_.voxel[begin + i];
                    along_dose[voxel] += dose_slope - wide_slope * f;
                    along_wide[voxel] += wide_slope;
                }
            }
        });
}

} // namespace brimstone
