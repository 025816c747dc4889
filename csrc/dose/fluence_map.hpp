#pragma once

#include <optional>
#include <vector>

#include "dose/beam.hpp"

namespace brimstone::dose {

/// Fluence in the cells between edges in the beam's eye view, MU; zero outside. Openings of a collimator with
/// whatever leaf positions are cells between all their edges.
class FluenceMap {
public:
    /// @param value  of the cells, row after row along y
    /// @throws std::invalid_argument  if edges do not rise, values cannot be, or their numbers do not fit
    FluenceMap(std::vector<double> x_edges, std::vector<double> y_edges, const std::vector<double>& value);

    /// Mean fluence in a square.
    double mean(double x, double y, double half_side) const;
    /// Whether a square lies in one cell, or outside.
    bool even(double x, double y, double half_side) const;
    /// Whether cells are so small beside squares that the map is a raster of something smooth.
    bool fine(double half_side) const;
    /// Mean in the inner quarter of a square, if fluence in the square is straight to `smooth_within`.
    std::optional<double> smooth_mean(double x, double y, double half_side) const;

    bool any() const { return sum_.back() > 0.0; }
    double low(std::size_t axis) const { return edge_[axis].front(); }
    double high(std::size_t axis) const { return edge_[axis].back(); }

private:
    static constexpr double smooth_within = 5e-3; ///< share of the highest fluence

    struct Position {
        std::size_t cell;
        double share; ///< of the cell below the position
    };
    Position find(std::size_t axis, double at) const;
    double integral(const Position& x, const Position& y) const;

    std::vector<double> edge_[2];
    double highest_ = 0.0;
    std::vector<double> sum_; ///< fluence times area below and left of each corner
};

/// @throws std::invalid_argument  if the map reaches farther from the axis than the source is
void check(const FluenceMap& map, const Beam& beam);

} // namespace brimstone::dose
