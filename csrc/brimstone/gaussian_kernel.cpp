#include "brimstone/gaussian_kernel.hpp"

#include <algorithm>
#include <cmath>

namespace brimstone {

GaussianKernel::GaussianKernel(double sigma, double bin_width, double reach) {
    const int half = std::max(1, static_cast<int>(std::ceil(reach * sigma / bin_width)));
    tap_.resize(static_cast<std::size_t>(half) + 1);
    double sum = 0.0;
    for (int i = half; i >= 0; --i) {
        const double z = i * bin_width / sigma;
        const double tap = std::exp(-0.5 * z * z);
        tap_[static_cast<std::size_t>(i)] = tap;
        sum += i == 0 ? tap : 2.0 * tap;
    }
    for (double& tap : tap_) {
        tap /= sum;
    }
}

void GaussianKernel::add_convolution(const std::vector<double>& signal, std::vector<double>& result) const {
    const auto n = static_cast<std::ptrdiff_t>(signal.size());
    // Tap by tap, so that the inner loop runs over bins and is vectorised.
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        result[static_cast<std::size_t>(i)] += tap_[0] * signal[static_cast<std::size_t>(i)];
    }
    for (std::ptrdiff_t shift = 1; shift < std::min<std::ptrdiff_t>(n, half_width() + 1); ++shift) {
        const double tap = tap_[static_cast<std::size_t>(shift)];
        const double* const s = signal.data();
        double* const r = result.data();
        for (std::ptrdiff_t i = 0; i < n - shift; ++i) {
            r[i] += tap * s[i + shift];
        }
        for (std::ptrdiff_t i = shift; i < n; ++i) {
            r[i] += tap * s[i - shift];
        }
    }
}

} // namespace brimstone
