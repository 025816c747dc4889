#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "brimstone/support/buffer.hpp"
#include "dose/beam_rays.hpp"
#include "dose/kernels/kernels.hpp"
#include "dose/voxel_rows.hpp"

namespace brimstone::dose {

/// The kernel's parts along the rays of all voxels of a row, computed when first asked for.
class RowRays {
public:
    RowRays(const BeamRays& rays, std::size_t longest_row, const Kernels& kernels)
        : rays_(rays), kernels_(kernels), stride_((longest_row + lanes - 1) / lanes * lanes + lanes),
          radius_(rays.stencil.rays() * stride_), last_(rays.stencil.rays() * stride_),
          part_(rays.stencil.steps().size() * stride_), known_(rays.stencil.rays()) {
        // Lanes beyond a row's end are read, and what they hold counts for nothing, but must be numbers.
        std::fill(part_.data(), part_.data() + part_.size(), 0.0F);
    }

    void begin(const VoxelRow& row) {
        row_ = row;
        blocks_ = (static_cast<std::size_t>(row.end - row.begin) + lanes - 1) / lanes;
        for (std::size_t ray = 0; ray < known_.size(); ++ray) {
            known_[ray] = static_cast<std::uint32_t>(rays_.stencil.first(ray));
        }
    }

    /// Makes sure that a ray's parts are known up to a step.
    void need(std::size_t ray, std::uint32_t step) {
        if (step >= known_[ray]) {
            extend(ray, step);
        }
    }

    const float* parts() const { return part_.data(); }
    std::size_t stride() const { return stride_; }

private:
    void extend(std::size_t ray, std::uint32_t last_step) {
        float* const radius = radius_.data() + ray * stride_;
        float* const last = last_.data() + ray * stride_;
        if (known_[ray] == rays_.stencil.first(ray)) {
            std::fill(radius, radius + stride_, 0.0F);
            std::fill(last, last + stride_, 0.0F);
        }
        const std::size_t cone = rays_.stencil.cone(ray);
        const ConeKernel kernel{rays_.kernel.cone(cone), rays_.kernel.last_cell()};
        for (; known_[ray] <= last_step; ++known_[ray]) {
            const RayStep& step = rays_.stencil.steps()[known_[ray]];
            kernels_.advance(kernel, rays_.densities(row_, step, row_.begin), step.scale, blocks_, radius,
                             last, part_.data() + known_[ray] * stride_);
        }
    }

    const BeamRays& rays_;
    const Kernels& kernels_;
    std::size_t stride_;
    Buffer<float> radius_;
    Buffer<float> last_;
    Buffer<float> part_;
    std::vector<std::uint32_t> known_; ///< of each ray, the first step whose part is not
    VoxelRow row_{};
    std::size_t blocks_ = 0;
};

} // namespace brimstone::dose
