#pragma once

#include <cstddef>
#include <vector>

namespace brimstone {

/// Σ of `part(i)` over a range: two sums, so that an addition need not wait for the one before.
template <class Part>
double sum_over(std::size_t begin, std::size_t end, const Part& part) {
    double even = 0.0;
    double odd = 0.0;
    std::size_t i = begin;
    for (; i + 1 < end; i += 2) {
        even += part(i);
        odd += part(i + 1);
    }
    return even + odd + (i < end ? part(i) : 0.0);
}

inline double sum_of(const std::vector<double>& parts) {
    double sum = 0.0;
    for (const double part : parts) {
        sum += part;
    }
    return sum;
}

} // namespace brimstone
