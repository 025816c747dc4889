#include "brimstone/terms/target_dvh.hpp"

#include <cstddef>

namespace brimstone {

double TargetDvh::mean_dose() const {
    double mean = points_.front().dose;
    for (std::size_t i = 1; i < points_.size(); ++i) {
        mean += 0.5 * (points_[i].volume + points_[i - 1].volume) * (points_[i].dose - points_[i - 1].dose);
    }
    return mean;
}

/// ∫ (share below s) ds from the lowest dose to `dose`.
double TargetDvh::integrated_share_below(double dose) const {
    double integral = 0.0;
    for (std::size_t i = 1; i < points_.size(); ++i) {
        const Point& a = points_[i - 1];
        const Point& b = points_[i];
        if (dose <= a.dose) {
            return integral;
        }
        const double end = dose < b.dose ? dose : b.dose;
        const double length = b.dose - a.dose;
        const double volume_end =
            length > 0.0 ? a.volume + (b.volume - a.volume) * (end - a.dose) / length : a.volume;
        integral += (1.0 - 0.5 * (a.volume + volume_end)) * (end - a.dose);
    }
    if (dose > points_.back().dose) {
        integral += dose - points_.back().dose;
    }
    return integral;
}

double TargetDvh::bin_volume(double dose, double bin_width) const {
    // The second difference of the twice integrated density is the density against the bin's hat function.
    return (integrated_share_below(dose + bin_width) - 2.0 * integrated_share_below(dose) +
            integrated_share_below(dose - bin_width)) /
           bin_width;
}

} // namespace brimstone
