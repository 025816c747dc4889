#pragma once

#include <cstdint>
#include <vector>

#include "dose/stencil.hpp"

namespace brimstone::dose {

/// Steps of a stencil by the row they lead to.
class StepCells {
public:
    struct Entry {
        std::uint32_t step;
        std::int32_t lane;
        std::uint32_t ray;
    };

    explicit StepCells(const Stencil& stencil);

    /// Steps that lead so many rows away, as [first, last).
    std::pair<const Entry*, const Entry*> to(int first, int second) const {
        const int i = first - low_[0];
        const int j = second - low_[1];
        if (i < 0 || i >= count_[0] || j < 0 || j >= count_[1]) {
            return {nullptr, nullptr};
        }
        const auto cell = static_cast<std::size_t>(j * count_[0] + i);
        return {entry_.data() + start_[cell], entry_.data() + start_[cell + 1]};
    }

private:
    int low_[2];
    int count_[2];
    std::vector<std::uint32_t> start_;
    std::vector<Entry> entry_;
};

} // namespace brimstone::dose
