#include "brimstone/terms/gaussian_kernel.hpp"

#include <algorithm>
#include <cmath>

#include "brimstone/support/kernels/kernels.hpp"

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
    kernels().convolve(tap_.data(), tap_.size() - 1, signal.data(), signal.size(), result.data());
}

} // namespace brimstone
