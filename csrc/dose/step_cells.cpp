#include "dose/step_cells.hpp"

#include <algorithm>

namespace brimstone::dose {

StepCells::StepCells(const Stencil& stencil) {
    const std::vector<RayStep>& steps = stencil.steps();
    for (std::size_t a = 0; a < 2; ++a) {
        int low = 0;
        int high = 0;
        for (const RayStep& step : steps) {
            low = std::min(low, step.row[a]);
            high = std::max(high, step.row[a]);
        }
        low_[a] = low;
        count_[a] = high - low + 1;
    }
    const auto cell_of = [this](const RayStep& step) {
        return static_cast<std::size_t>((step.row[1] - low_[1]) * count_[0] + step.row[0] - low_[0]);
    };
    start_.assign(static_cast<std::size_t>(count_[0]) * static_cast<std::size_t>(count_[1]) + 1, 0);
    for (const RayStep& step : steps) {
        ++start_[cell_of(step) + 1];
    }
    for (std::size_t c = 1; c < start_.size(); ++c) {
        start_[c] += start_[c - 1];
    }
    entry_.resize(steps.size());
    std::vector<std::uint32_t> next = start_;
    for (std::size_t ray = 0; ray < stencil.rays(); ++ray) {
        for (std::size_t s = stencil.first(ray); s < stencil.end(ray); ++s) {
            entry_[next[cell_of(steps[s])]++] = {static_cast<std::uint32_t>(s), steps[s].lane,
                                                 static_cast<std::uint32_t>(ray)};
        }
    }
}

} // namespace brimstone::dose
