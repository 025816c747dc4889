#include "brimstone/terms/kl_divergence.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

#include "brimstone/support/kernels/kernels.hpp"

namespace brimstone {

namespace {

constexpr double max_bins = 1e7;

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

KlDivergenceTerm::KlDivergenceTerm(Quantity quantity, const TargetDvh& target, KlDirection direction,
                                   double weight, const BinSettings& bins)
    : quantity_(std::move(quantity)), direction_(direction), weight_(weight), bins_(bins),
      target_low_(target.lowest_dose()), target_high_(target.highest_dose()),
      wide_(std::sqrt(bins.variance_max), bins.bin_width, bins.kernel_reach),
      narrow_(std::sqrt(bins.variance_min), bins.bin_width, bins.kernel_reach),
      padding_(std::max(wide_.half_width(), narrow_.half_width()) + 1) {
    check_bins(target.highest_dose());
    const auto top = static_cast<std::ptrdiff_t>(std::ceil(target.highest_dose() / bins.bin_width)) + 1;
    std::vector<double> raw(static_cast<std::size_t>(top + 2 * std::ptrdiff_t{padding_} + 1), 0.0);
    for (std::size_t k = 0; k < raw.size(); ++k) {
        const double dose = (static_cast<double>(k) - padding_) * bins.bin_width;
        raw[k] = target.bin_volume(dose, bins.bin_width);
    }
    wide_target_ = smoothed_to_one(raw, wide_);
    narrow_target_ = smoothed_to_one(raw, narrow_);
    fixed_ = fixed_volumes();
}

std::vector<double> KlDivergenceTerm::fixed_volumes() const {
    std::vector<double> volume;
    if (!quantity_.map) {
        return volume;
    }
    const std::vector<double>& fixed = quantity_.map->fixed_quantity();
    for (std::size_t i = 0; i < fixed.size(); ++i) {
        check_bins(fixed[i]);
        const double position = fixed[i] / bins_.bin_width;
        const auto bin = static_cast<std::size_t>(position);
        const double above = quantity_.map->fixed_share()[i] * (position - static_cast<double>(bin));
        const std::size_t k = bin + static_cast<std::size_t>(padding_);
        volume.resize(std::max(volume.size(), k + 2), 0.0);
        volume[k] += quantity_.map->fixed_share()[i] - above;
        volume[k + 1] += above;
    }
    return volume;
}

std::vector<double> KlDivergenceTerm::target(double wide_share) const {
    std::vector<double> q(wide_target_.size());
    for (std::size_t k = 0; k < q.size(); ++k) {
        q[k] = wide_share * wide_target_[k] + (1.0 - wide_share) * narrow_target_[k];
    }
    return q;
}

void KlDivergenceTerm::check_bins(double dose) const {
    if (!(dose / bins_.bin_width < max_bins)) {
        throw std::overflow_error("a dose of " + std::to_string(dose) + " Gy is too high for bins of " +
                                  std::to_string(bins_.bin_width) + " Gy; the reference dose is " +
                                  std::to_string(bins_.reference_dose) + " Gy");
    }
}

std::size_t KlDivergenceTerm::n_bins(const DoseState& state) const {
    const double highest = quantity_.map ? quantity_.map->highest(state) : state.maximum();
    check_bins(highest);
    return std::max(static_cast<std::size_t>(highest / bins_.bin_width) + 2 +
                        2 * static_cast<std::size_t>(padding_),
                    wide_target_.size());
}

std::vector<double> KlDivergenceTerm::smooth(const Deposit& deposit) const {
    std::vector<double> histogram(deposit.wide.size(), 0.0);
    wide_.add_convolution(deposit.wide, histogram);
    narrow_.add_convolution(deposit.narrow, histogram);
    return histogram;
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

class KlDivergenceTerm::At final : public Term::Evaluation {
public:
    At(const KlDivergenceTerm& term, const DoseState& state, std::size_t n_pieces)
        : term_(term), state_(state), bins_(term.n_bins(state)),
          scale_{1.0 / term.bins_.bin_width, term.padding_}, pieces_(n_pieces) {}

    void collect(const Piece& piece) override;
    double finish(bool with_residual) override;
    void add_residual(std::size_t begin, std::size_t end, const Residual& residual) const override;

    Deposit deposit() const;

private:
    StructureVoxels voxels_in(std::size_t first, std::size_t last) const;

    const KlDivergenceTerm& term_;
    const DoseState& state_;
    const std::size_t bins_;
    const BinScale scale_;
    std::vector<Deposit> pieces_; ///< empty where a piece has no voxels
    std::vector<SlopeCell> slopes_;
    double share_slope_ = 0.0; ///< of the cost with respect to the wide kernel's share in the target
};

/// Those of the structure from one voxel to below another.
StructureVoxels KlDivergenceTerm::At::voxels_in(std::size_t first, std::size_t last) const {
    const VoxelShares& shares = *term_.quantity_.shares;
    const std::size_t begin = shares.position(first);
    StructureVoxels voxels{shares.voxel.data() + begin, shares.share.data() + begin,
                           shares.position(last) - begin, state_.dose(), state_.wide_dose()};
    if (const DoseMap* const map = term_.quantity_.map.get()) {
        voxels.mapping = map->is_uniform() ? Mapping::uniform : Mapping::each;
        const std::size_t offset = map->is_uniform() ? 0 : begin;
        voxels.c0 = map->c0() + offset;
        voxels.c1 = map->c1() + offset;
        voxels.c2 = map->c2() + offset;
    }
    return voxels;
}

void KlDivergenceTerm::At::collect(const Piece& piece) {
    const StructureVoxels voxels = voxels_in(piece.begin, piece.end);
    if (voxels.count == 0) {
        return;
    }
    std::vector<HistogramCell> own(HistogramCell::copies * bins_);
    kernels().deposit(voxels, scale_, own.data(), bins_);
    // From what lies between bins to the bins themselves.
    Deposit& volumes = pieces_[piece.number];
    volumes.wide.assign(bins_, 0.0);
    volumes.narrow.assign(bins_, 0.0);
    for (std::size_t first = 0; first < own.size(); first += bins_) {
        for (std::size_t k = 0; k + 1 < bins_; ++k) {
            const HistogramCell& cell = own[first + k];
            volumes.wide[k] += cell.wide - cell.wide_above;
            volumes.wide[k + 1] += cell.wide_above;
            volumes.narrow[k] += cell.narrow - cell.narrow_above;
            volumes.narrow[k + 1] += cell.narrow_above;
        }
    }
}

KlDivergenceTerm::Deposit KlDivergenceTerm::At::deposit() const {
    Deposit sum{std::vector<double>(bins_, 0.0), std::vector<double>(bins_, 0.0)};
    for (const Deposit& piece : pieces_) {
        for (std::size_t k = 0; k < piece.wide.size(); ++k) {
            sum.wide[k] += piece.wide[k];
            sum.narrow[k] += piece.narrow[k];
        }
    }
    for (std::size_t k = 0; k < term_.fixed_.size(); ++k) {
        sum.narrow[k] += term_.fixed_[k]; // as a voxel without dose
    }
    return sum;
}

double KlDivergenceTerm::At::finish(bool with_residual) {
    const Deposit volumes = deposit();
    const std::vector<double> p = term_.smooth(volumes);
    std::vector<double> q = term_.target(term_.target_wide_share(volumes));
    q.resize(p.size(), 0.0);
    std::vector<double> slope(p.size());
    double cost = 0.0;
    for (std::size_t k = 0; k < p.size(); ++k) {
        const BinCost bin = term_.bin_cost(p[k], q[k], k);
        cost += bin.value;
        slope[k] = bin.calculated_slope;
        if (k < term_.wide_target_.size() && term_.bins_.target_smoothing == TargetSmoothing::calculated) {
            share_slope_ += bin.target_slope * (term_.wide_target_[k] - term_.narrow_target_[k]);
        }
    }
    if (with_residual) {
        std::vector<double> wide(p.size(), 0.0);
        std::vector<double> narrow(p.size(), 0.0);
        term_.wide_.add_convolution(slope, wide);
        term_.narrow_.add_convolution(slope, narrow);
        slopes_.resize(p.size() - 1);
        for (std::size_t k = 0; k + 1 < p.size(); ++k) {
            slopes_[k] = {wide[k], narrow[k], wide[k + 1] - wide[k], narrow[k + 1] - narrow[k]};
        }
    }
    return term_.weight_ * cost * term_.bins_.bin_width / term_.bins_.reference_dose;
}

void KlDivergenceTerm::At::add_residual(std::size_t begin, std::size_t end, const Residual& residual) const {
    kernels().add_slopes(voxels_in(begin, end), scale_, slopes_.data(), term_.weight_ * residual.scale,
                         share_slope_, residual.first_voxel, residual.dose, residual.wide_dose);
}

std::unique_ptr<Term::Evaluation> KlDivergenceTerm::begin(const DoseState& state,
                                                          std::size_t n_pieces) const {
    return std::make_unique<At>(*this, state, n_pieces);
}

std::vector<double> KlDivergenceTerm::histogram(const DoseState& state) const {
    At at(*this, state, 1);
    at.collect({0, 0, state.voxels()});
    return smooth(at.deposit());
}

} // namespace brimstone
