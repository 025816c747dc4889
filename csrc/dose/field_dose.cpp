#include "dose/field_dose.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "brimstone/support/parallel.hpp"
#include "dose/beam_rays.hpp"
#include "dose/field_terma.hpp"
#include "dose/voxel_rows.hpp"

namespace brimstone::dose {

namespace {

/// Voxels of a row whose rays meet TERMA at one step.
struct StepHit {
    std::uint32_t step;
    LaneRange lane;
};

/// Steps of a ray at which it may meet rows that have TERMA.
class StepWindow {
public:
    StepWindow(const Stencil& stencil, std::size_t ray) {
        const auto first = static_cast<std::ptrdiff_t>(stencil.first(ray));
        const auto end = static_cast<std::ptrdiff_t>(stencil.end(ray));
        begin_ = stencil.steps().data() + first;
        end_ = stencil.steps().data() + end;
    }

    /// Leaves only the steps to rows [low, high) away along one axis. Along a ray, rows rise or fall.
    void keep(std::size_t which, int low, int high) {
        const bool rising = begin_ < end_ && end_[-1].row[which] >= begin_->row[which];
        const auto before = [&](const RayStep& step) {
            return rising ? step.row[which] < low : step.row[which] >= high;
        };
        const auto within = [&](const RayStep& step) {
            return rising ? step.row[which] < high : step.row[which] >= low;
        };
        begin_ = std::partition_point(begin_, end_, before);
        end_ = std::partition_point(begin_, end_, within);
    }
    const RayStep* begin() const { return begin_; }
    const RayStep* end() const { return end_; }

private:
    const RayStep* begin_;
    const RayStep* end_;
};

/// Adds up the dose of rows of voxels.
class FieldRows {
public:
    FieldRows(const BeamRays& rays, const FieldTerma& terma, std::size_t longest_row)
        : rays_(rays), terma_(terma), kernels_(kernels()), radius_(longest_row + 2 * lanes),
          last_(longest_row + 2 * lanes), part_(longest_row + 2 * lanes), dose_(longest_row + 2 * lanes) {
        // Lanes beyond the last voxel are read, and count for nothing, but must be numbers.
        std::fill(part_.data(), part_.data() + part_.size(), 0.0F);
    }

    /// Sum over all rays, from the first voxel of the row on.
    const float* trace(const VoxelRow& row) {
        std::fill(dose_.data(), dose_.data() + dose_.size(), 0.0F);
        for (std::size_t ray = 0; ray < rays_.stencil.rays(); ++ray) {
            find_hits(row, ray);
            if (!hit_.empty()) {
                follow(row, ray);
            }
        }
        return dose_.data();
    }

private:
    void find_hits(const VoxelRow& row, std::size_t ray) {
        hit_.clear();
        StepWindow window(rays_.stencil, ray);
        for (std::size_t a = 0; a < 2; ++a) {
            window.keep(a, terma_.low(a) - row.row[a], terma_.high(a) - row.row[a]);
        }
        for (const RayStep* step = window.begin(); step < window.end(); ++step) {
            const LaneRange positions =
                terma_.positions(row.row[0] + step->row[0], row.row[1] + step->row[1]);
            const LaneRange lane{std::max(row.begin, positions.begin - step->lane),
                                 std::min(row.end, positions.end - step->lane)};
            if (!positions.empty() && !lane.empty()) {
                hit_.push_back({static_cast<std::uint32_t>(step - rays_.stencil.steps().data()), lane});
            }
        }
    }

    void follow(const VoxelRow& row, std::size_t ray) {
        LaneRange all = hit_.front().lane;
        for (const StepHit& hit : hit_) {
            all.begin = std::min(all.begin, hit.lane.begin);
            all.end = std::max(all.end, hit.lane.end);
        }
        const std::size_t blocks = (static_cast<std::size_t>(all.end - all.begin) + lanes - 1) / lanes;
        std::fill(radius_.data(), radius_.data() + blocks * lanes, 0.0F);
        std::fill(last_.data(), last_.data() + blocks * lanes, 0.0F);
        const std::size_t cone = rays_.stencil.cone(ray);
        const ConeKernel kernel{rays_.kernel.cone(cone), rays_.kernel.last_cell()};
        auto next = static_cast<std::uint32_t>(rays_.stencil.first(ray));
        for (const StepHit& hit : hit_) {
            // What the kernel holds before the step ahead of a hit is not asked for.
            for (; next + 1 < hit.step; ++next) {
                kernels_.pass(densities(row, next, all.begin), scale(next), blocks, radius_.data());
            }
            for (; next <= hit.step; ++next) {
                kernels_.advance(kernel, densities(row, next, all.begin), scale(next), blocks, radius_.data(),
                                 last_.data(), part_.data());
            }
            add(row, hit, all.begin);
        }
    }

    float scale(std::uint32_t number) const { return rays_.stencil.steps()[number].scale; }
    const float* densities(const VoxelRow& row, std::uint32_t number, int lane) const {
        return rays_.densities(row, rays_.stencil.steps()[number], lane);
    }

    void add(const VoxelRow& row, const StepHit& hit, int first_lane) {
        const RayStep& step = rays_.stencil.steps()[hit.step];
        const float* corner[corners];
        for (std::size_t c = 0; c < corners; ++c) {
            corner[c] = terma_.row(row.row[0] + step.row[0] + static_cast<int>(c >> 1 & 1U),
                                   row.row[1] + step.row[1] + static_cast<int>(c >> 2 & 1U)) +
                        hit.lane.begin + step.lane + static_cast<int>(c & 1U);
        }
        kernels_.add_step(corner, step.weight, part_.data() + (hit.lane.begin - first_lane),
                          static_cast<std::size_t>(hit.lane.end - hit.lane.begin),
                          dose_.data() + (hit.lane.begin - row.begin));
    }

    const BeamRays& rays_;
    const FieldTerma& terma_;
    const Kernels& kernels_;
    std::vector<StepHit> hit_;
    Buffer<float> radius_;
    Buffer<float> last_;
    Buffer<float> part_;
    Buffer<float> dose_;
};

} // namespace

std::vector<float> compute_field(const Patient& patient, const KernelTables& tables, const Beam& beam,
                                 const FluenceMap& map, const Settings& settings,
                                 const Monitor::Report& report, int threads) {
    check(settings);
    check(tables);
    check(beam, patient.grid());
    check(map, beam);
    const Grid& grid = patient.grid();
    const RowLayout layout = RowLayout::straight(grid, beam.axis);
    const BeamRays rays(patient, tables, beam, layout, settings,
                        [&](const Vec3&) { return grid.diagonal(); });
    const auto longest = static_cast<std::size_t>(layout.count[0]);
    const std::vector<VoxelRow> rows = wanted_rows(patient, layout, layout.count[0]);
    Monitor monitor(report, rows.size());
    const FieldTerma terma(patient, layout, beam, map, TermaCurve(tables), monitor, threads);
    monitor.throw_if_stopped();
    if (!terma.any() && map.any()) {
        throw std::invalid_argument(
            "the field does not meet the patient: it lies outside the density grid or in air");
    }
    std::vector<float> dose(grid.voxels(), 0.0F);
    constexpr std::size_t rows_per_piece = 16;
    parallel_pieces(
        rows.size(), rows_per_piece, threads, [&](std::size_t, std::size_t begin, std::size_t end) {
            FieldRows worker(rays, terma, longest);
            for (std::size_t r = begin; r < end && !monitor.stopped(); ++r) {
                const VoxelRow& row = rows[r];
                const float* const sum = worker.trace(row);
                for (int lane = row.begin; lane < row.end; ++lane) {
                    const Index3 voxel = layout.voxel({{row.row[0], row.row[1]}, lane});
                    const std::size_t number = grid.number(voxel);
                    if (patient.wanted(number)) {
                        const Vec3 seen = grid.center(voxel) - beam.source;
                        const double inverse_square =
                            beam.sad * beam.sad / dot(seen, seen) / settings.azimuth;
                        dose[number] =
                            std::max(0.0F, sum[lane - row.begin] * static_cast<float>(inverse_square));
                    }
                }
                monitor.ask();
            }
            monitor.add(static_cast<double>(end - begin));
        });
    monitor.throw_if_stopped();
    monitor.finish();
    return dose;
}

} // namespace brimstone::dose
