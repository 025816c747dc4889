#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

namespace brimstone {

inline double dot(const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0.0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        sum += a[i] * b[i];
    }
    return sum;
}

inline double norm(const std::vector<double>& a) {
    return std::sqrt(dot(a, a));
}

inline bool all_finite(const std::vector<double>& a) {
    bool finite = true;
    for (const double v : a) {
        finite = finite && std::isfinite(v);
    }
    return finite;
}

inline double largest_magnitude(const std::vector<double>& a) {
    double largest = 0.0;
    for (const double v : a) {
        largest = std::fmax(largest, std::fabs(v));
    }
    return largest;
}

/// target += factor · a
inline void add_scaled(double factor, const std::vector<double>& a, std::vector<double>& target) {
    for (std::size_t i = 0; i < a.size(); ++i) {
        target[i] += factor * a[i];
    }
}

inline void scale(double factor, std::vector<double>& a) {
    for (double& v : a) {
        v *= factor;
    }
}

inline std::vector<double> negated(const std::vector<double>& a) {
    std::vector<double> result(a);
    scale(-1.0, result);
    return result;
}

} // namespace brimstone
