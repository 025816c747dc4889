#include "dose/fluence_map.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

namespace brimstone::dose {

namespace {

void check_edges(const std::vector<double>& edges, const char* axis) {
    if (edges.size() < 2) {
        throw std::invalid_argument("a fluence map has " + std::to_string(edges.size()) + " edges along " +
                                    axis + "; it needs 2 or more");
    }
    for (std::size_t i = 0; i < edges.size(); ++i) {
        if (!std::isfinite(edges[i]) || (i > 0 && !(edges[i] > edges[i - 1]))) {
            throw std::invalid_argument("the edges of a fluence map along " + std::string(axis) +
                                        " must be finite and rise; edge " + std::to_string(i) + " is " +
                                        std::to_string(edges[i]) + " mm");
        }
    }
}

} // namespace

FluenceMap::FluenceMap(std::vector<double> x_edges, std::vector<double> y_edges,
                       const std::vector<double>& value)
    : edge_{std::move(x_edges), std::move(y_edges)} {
    check_edges(edge_[0], "x");
    check_edges(edge_[1], "y");
    const std::size_t columns = edge_[0].size();
    const std::size_t rows = edge_[1].size();
    if (value.size() != (columns - 1) * (rows - 1)) {
        throw std::invalid_argument("a fluence map has " + std::to_string(value.size()) + " values for " +
                                    std::to_string(rows - 1) + " x " + std::to_string(columns - 1) +
                                    " cells");
    }
    for (const double v : value) {
        if (!(v >= 0.0 && v <= 1e9)) {
            throw std::invalid_argument("a fluence map has the value " + std::to_string(v) +
                                        " MU; all must be finite and not negative");
        }
    }
    highest_ = *std::max_element(value.begin(), value.end());
    sum_.assign(columns * rows, 0.0);
    for (std::size_t j = 1; j < rows; ++j) {
        double row = 0.0;
        for (std::size_t i = 1; i < columns; ++i) {
            const double area = (edge_[0][i] - edge_[0][i - 1]) * (edge_[1][j] - edge_[1][j - 1]);
            row += area * value[(j - 1) * (columns - 1) + i - 1];
            sum_[j * columns + i] = sum_[(j - 1) * columns + i] + row;
        }
    }
}

FluenceMap::Position FluenceMap::find(std::size_t axis, double at) const {
    const std::vector<double>& edge = edge_[axis];
    if (at <= edge.front()) {
        return {0, 0.0};
    }
    if (at >= edge.back()) {
        return {edge.size() - 2, 1.0};
    }
    const auto cell =
        static_cast<std::size_t>(std::upper_bound(edge.begin(), edge.end(), at) - edge.begin()) - 1;
    return {cell, (at - edge[cell]) / (edge[cell + 1] - edge[cell])};
}

double FluenceMap::integral(const Position& x, const Position& y) const {
    const std::size_t columns = edge_[0].size();
    const double* const below = sum_.data() + y.cell * columns + x.cell;
    const double* const above = below + columns;
    const double lower = below[0] + x.share * (below[1] - below[0]);
    const double upper = above[0] + x.share * (above[1] - above[0]);
    return lower + y.share * (upper - lower);
}

double FluenceMap::mean(double x, double y, double half_side) const {
    const Position left = find(0, x - half_side);
    const Position right = find(0, x + half_side);
    const Position lower = find(1, y - half_side);
    const Position upper = find(1, y + half_side);
    const double inside =
        (integral(right, upper) - integral(left, upper)) - (integral(right, lower) - integral(left, lower));
    return std::fmax(0.0, inside) / (4.0 * half_side * half_side);
}

bool FluenceMap::even(double x, double y, double half_side) const {
    const double at[2] = {x, y};
    bool one_cell = true;
    for (std::size_t axis = 0; axis < 2; ++axis) {
        const double from = at[axis] - half_side;
        const double to = at[axis] + half_side;
        if (to <= low(axis) || from >= high(axis)) {
            return true;
        }
        one_cell =
            one_cell && from >= low(axis) && to <= high(axis) && find(axis, from).cell == find(axis, to).cell;
    }
    return one_cell;
}

bool FluenceMap::fine(double half_side) const {
    for (const std::vector<double>& edge : edge_) {
        const double cell = (edge.back() - edge.front()) / static_cast<double>(edge.size() - 1);
        if (cell > 0.4 * half_side) {
            return false;
        }
    }
    return true;
}

std::optional<double> FluenceMap::smooth_mean(double x, double y, double half_side) const {
    const double half = 0.5 * half_side;
    const double corner[4] = {mean(x - half, y - half, half), mean(x + half, y - half, half),
                              mean(x - half, y + half, half), mean(x + half, y + half, half)};
    const double outer = 0.25 * (corner[0] + corner[1] + corner[2] + corner[3]);
    const double inner = mean(x, y, half);
    const double twist = 0.25 * (corner[0] - corner[1] - corner[2] + corner[3]);
    if (std::fmax(std::fabs(inner - outer), std::fabs(twist)) > smooth_within * highest_) {
        return std::nullopt;
    }
    return inner;
}

void check(const FluenceMap& map, const Beam& beam) {
    for (std::size_t axis = 0; axis < 2; ++axis) {
        if (map.low(axis) < -beam.sad || map.high(axis) > beam.sad) {
            throw std::invalid_argument("a fluence map reaches from " + std::to_string(map.low(axis)) +
                                        " to " + std::to_string(map.high(axis)) +
                                        " mm; it must be within the source-axis distance of the axis");
        }
    }
}

} // namespace brimstone::dose
