#pragma once

#include <cstddef>
#include <vector>

namespace brimstone {

/// Dose d_j and wide dose (D(φ∘w))_j, the part of the dose that is binned with the wide kernel, of all
/// voxels of interest, in Gy.
class DoseState {
public:
    static constexpr std::size_t block = 1024;

    std::size_t voxels() const { return value_.size() / 2; }
    void resize(std::size_t voxels) { value_.resize(2 * voxels); }

    /// The doses of all voxels before the wide ones, as products with the dose matrix give them.
    double* data() { return value_.data(); }
    double* dose() { return value_.data(); }
    const double* dose() const { return value_.data(); }
    double* wide_dose() { return value_.data() + voxels(); }
    const double* wide_dose() const { return value_.data() + voxels(); }

    /// Takes note of the highest doses, of all voxels.
    /// @throws std::overflow_error  when a dose is not finite
    void find_maximum(int threads);
    double maximum() const { return maximum_; }
    /// Of voxels [number · 1024, (number + 1) · 1024).
    double block_maximum(std::size_t number) const { return block_maximum_[number]; }

private:
    std::vector<double> value_;
    double maximum_ = 0.0;
    std::vector<double> block_maximum_;
};

} // namespace brimstone
