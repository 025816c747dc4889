#include "dose/beamlet_groups.hpp"

#include <algorithm>
#include <cmath>
#include <map>

namespace brimstone::dose {

std::vector<std::vector<std::uint32_t>> group_beamlets(const Beamlets& beamlets) {
    constexpr double square_mm = 150.0;
    constexpr std::size_t most = 1024;
    if (beamlets.size() == 0) {
        return {};
    }
    const auto [x_low, x_high] = std::minmax_element(beamlets.x.begin(), beamlets.x.end());
    const auto [y_low, y_high] = std::minmax_element(beamlets.y.begin(), beamlets.y.end());
    // Squares of equal size that cover the field.
    const double columns = std::ceil((*x_high - *x_low + beamlets.width_x) / square_mm);
    const double rows = std::ceil((*y_high - *y_low + beamlets.width_y) / square_mm);
    const double width = (*x_high - *x_low) / columns + 1e-6;
    const double height = (*y_high - *y_low) / rows + 1e-6;
    std::map<std::pair<int, int>, std::vector<std::uint32_t>> squares;
    for (std::size_t b = 0; b < beamlets.size(); ++b) {
        const int i = static_cast<int>((beamlets.x[b] - *x_low) / width);
        const int j = static_cast<int>((beamlets.y[b] - *y_low) / height);
        squares[{j, i}].push_back(static_cast<std::uint32_t>(b));
    }
    std::vector<std::vector<std::uint32_t>> groups;
    for (auto& [place, members] : squares) {
        for (std::size_t first = 0; first < members.size(); first += most) {
            const std::size_t last = std::min(first + most, members.size());
            groups.emplace_back(members.begin() + static_cast<std::ptrdiff_t>(first),
                                members.begin() + static_cast<std::ptrdiff_t>(last));
        }
    }
    return groups;
}

} // namespace brimstone::dose
