#pragma once

#include <utility>
#include <vector>

namespace brimstone {

/// A cumulative dose-volume histogram as non-increasing, piecewise linear points from volume share 1 to 0.
class TargetDvh {
public:
    struct Point {
        double dose;   ///< Gy
        double volume; ///< share of the structure that gets at least this dose
    };

    /// @param points at least two, doses ascending, volumes non-increasing from 1 to 0
    explicit TargetDvh(std::vector<Point> points) : points_(std::move(points)) {}

    double lowest_dose() const { return points_.front().dose; }
    double highest_dose() const { return points_.back().dose; }
    double mean_dose() const;

    /// Volume share that a histogram bin centered on `dose` receives when every bit of volume is shared
    /// linearly between its two neighboring bins, exactly as the calculated doses are.
    double bin_volume(double dose, double bin_width) const;

private:
    double integrated_share_below(double dose) const;

    std::vector<Point> points_;
};

} // namespace brimstone
