#pragma once

#include <vector>

namespace brimstone {

/// A normalized Gaussian on a regular bin grid, cut off at a number of standard deviations.
class GaussianKernel {
public:
    /// @param sigma      standard deviation, in Gy
    /// @param bin_width  in Gy
    /// @param reach      where the kernel is cut off, in standard deviations
    GaussianKernel(double sigma, double bin_width, double reach);

    /// Bins to either side of the center.
    int half_width() const { return static_cast<int>(tap_.size()) - 1; }

    /// result += kernel ⋆ signal; what falls outside the grid is lost. The kernel is symmetric, so this is
    /// also the product with its transpose.
    void add_convolution(const std::vector<double>& signal, std::vector<double>& result) const;

private:
    std::vector<double> tap_; ///< center and one side
};

} // namespace brimstone
