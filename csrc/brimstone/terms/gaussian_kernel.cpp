#include "brimstone/terms/gaussian_kernel.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "brimstone/support/kernels/kernels.hpp"

namespace brimstone {

GaussianKernel::GaussianKernel(double sigma, double bin_width, double reach) {
    constexpr double most_taps = 1e6;
    const double bins = std::ceil(reach * sigma / bin_width);
    if (!(bins <= most_taps)) {
        throw std::overflow_error("a kernel that reaches " + std::to_string(reach * sigma) +
                                  " Gy is too wide for bins of " + std::to_string(bin_width) + " Gy");
    }
    const int half = std::max(1, static_cast<int>(bins));
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
    kernels().convolve(tap_.data(), tap_.size() - 1, signal.data(), signal.size(), result.data());
}

} // namespace brimstone
