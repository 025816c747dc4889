#pragma once

#include <vector>

#include "brimstone/terms/bin_settings.hpp"
#include "brimstone/terms/dose_map.hpp"
#include "brimstone/terms/gaussian_kernel.hpp"
#include "brimstone/terms/target_dvh.hpp"
#include "brimstone/terms/term.hpp"

namespace brimstone {

/// Kullback-Leibler divergence between the Gaussian-binned DVH of a structure, of dose or of a quantity that
/// follows from it, and its target. The doses of bins are then quantities, too.
class KlDivergenceTerm final : public Term {
public:
    KlDivergenceTerm(Quantity quantity, const TargetDvh& target, KlDirection direction, double weight,
                     const BinSettings& bins);

    std::unique_ptr<Evaluation> begin(const DoseState& state, std::size_t n_pieces) const override;

    /// p, the smoothed histogram of the dose; entry k is centered on (k - first_bin()) · bin_width.
    std::vector<double> histogram(const DoseState& state) const;
    /// q, the target smoothed with a share of the wide kernel, on as many bins as it needs.
    std::vector<double> target(double wide_share) const;
    int first_bin() const { return padding_; }
    std::size_t n_voxels() const { return quantity_.shares->voxel.size(); }

private:
    class At;

    /// Volumes before they are smoothed.
    struct Deposit {
        std::vector<double> wide;
        std::vector<double> narrow;
    };
    struct BinCost {
        double value;
        double calculated_slope; ///< with respect to the density of the calculated histogram
        double target_slope;     ///< with respect to the target's density
    };

    void check_bins(double dose) const;
    std::vector<double> fixed_volumes() const;
    std::size_t n_bins(const DoseState& state) const;
    std::vector<double> smooth(const Deposit& deposit) const;
    double target_wide_share(const Deposit& deposit) const;
    BinCost bin_cost(double calculated, double target, std::size_t bin) const;
    double tail(std::size_t bin) const;

    Quantity quantity_;
    KlDirection direction_;
    double weight_;
    BinSettings bins_;
    double target_low_;
    double target_high_;
    GaussianKernel wide_;
    GaussianKernel narrow_;
    int padding_; ///< bins below zero dose
    std::vector<double> wide_target_;
    std::vector<double> narrow_target_;
    std::vector<double> fixed_; ///< volumes of voxels that no beamlet reaches, in bins
};

} // namespace brimstone
