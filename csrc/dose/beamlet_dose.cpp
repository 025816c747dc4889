#include "dose/beamlet_dose.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>

#include "brimstone/support/parallel.hpp"
#include "dose/beam_rays.hpp"
#include "dose/beamlet_groups.hpp"
#include "dose/cylinder.hpp"
#include "dose/cylinder_rows.hpp"
#include "dose/depth.hpp"
#include "dose/ray_trace.hpp"
#include "dose/row_rays.hpp"
#include "dose/step_cells.hpp"
#include "dose/terma_column.hpp"
#include "dose/voxel_rows.hpp"
#include "dose/voxel_shares.hpp"

namespace brimstone::dose {

namespace {

constexpr int longest_row = 96; ///< so that the kernel's parts of one stay in the second-level cache

std::vector<Cylinder> make_cylinders(const Grid& grid, const Beam& beam, const Beamlets& beamlets,
                                     const Settings& settings) {
    const double farthest = grid.farthest_corner(beam.source);
    std::vector<Cylinder> cylinders;
    cylinders.reserve(beamlets.size());
    for (std::size_t b = 0; b < beamlets.size(); ++b) {
        cylinders.emplace_back(beam, beamlets.x[b], beamlets.y[b], beamlets.width_x, beamlets.width_y,
                               farthest, settings.reach_mm);
    }
    return cylinders;
}

/// How far a ray can be from a voxel that a beamlet reaches and still meet its TERMA.
class RayLength {
public:
    RayLength(const Grid& grid, const std::vector<Cylinder>& cylinders, double opening_mm)
        : cylinders_(cylinders), beside_(opening_mm + 2.0 * length(grid.spacing)), longest_(grid.diagonal()) {
    }

    double operator()(const Vec3& direction) const {
        double farthest = 0.0;
        for (const Cylinder& cylinder : cylinders_) {
            const double along = dot(direction, cylinder.axis());
            const double across = std::sqrt(std::fmax(0.0, 1.0 - along * along));
            farthest = std::fmax(farthest, (cylinder.radius() + beside_) / std::fmax(across, 1e-6));
        }
        return std::fmin(farthest, longest_);
    }

private:
    const std::vector<Cylinder>& cylinders_;
    double beside_;
    double longest_;
};

/// Each ray's first steps, which may lead out of a beamlet's cylinder although the ray leads to its axis: a
/// step lies in the voxel at its lower corner, up to a voxel's diagonal beside it.
class FirstSteps {
public:
    FirstSteps(const Stencil& stencil, const Grid& grid) {
        const auto steps =
            static_cast<std::uint32_t>(std::ceil(4.0 * length(grid.spacing) / stencil.step_mm()));
        for (std::size_t ray = 0; ray < stencil.rays(); ++ray) {
            const auto all = static_cast<std::uint32_t>(stencil.end(ray) - stencil.first(ray));
            first_.push_back(count_);
            last_.push_back(static_cast<std::uint32_t>(stencil.first(ray)) + std::min(steps, all) - 1);
            count_ += std::min(steps, all);
        }
    }
    std::size_t count() const { return count_; }
    std::uint32_t first(std::size_t ray) const { return first_[ray]; }
    /// The last one, as a step of the stencil.
    std::uint32_t last(std::size_t ray) const { return last_[ray]; }

private:
    std::uint32_t count_ = 0;
    std::vector<std::uint32_t> first_;
    std::vector<std::uint32_t> last_;
};

/// A beam, ready for its groups of beamlets.
struct BeamletWork {
    BeamletWork(const Patient& patient_, const KernelTables& tables, const Beam& beam_,
                const Beamlets& beamlets_, const Settings& settings_)
        : patient(patient_), beam(beam_), beamlets(beamlets_), settings(settings_), terma(tables),
          cylinders(make_cylinders(patient.grid(), beam, beamlets, settings)),
          rays(patient, tables, beam, RowLayout::along(patient.grid(), beam.axis), settings,
               RayLength(patient.grid(), cylinders,
                         0.5 * std::hypot(beamlets.width_x, beamlets.width_y) *
                             patient.grid().farthest_corner(beam.source) / beam.sad)),
          cells(rays.stencil), first_steps(rays.stencil, patient.grid()),
          rows(wanted_rows(patient, rays.layout, longest_row)), view(patient.grid(), beam, settings) {}

    const Patient& patient;
    const Beam& beam;
    const Beamlets& beamlets;
    const Settings& settings;
    TermaCurve terma;
    std::vector<Cylinder> cylinders;
    BeamRays rays;
    StepCells cells;
    FirstSteps first_steps;
    std::vector<VoxelRow> rows;
    EyeView view;
};

/// Doses along a part of a row, of one beamlet.
struct RowDose {
    std::uint32_t member;
    std::uint32_t row;
    std::int32_t begin;
    std::int32_t end;
    std::size_t first; ///< where its values begin
};

/// What the rows of one piece of work have given.
struct PieceDoses {
    std::vector<RowDose> row;
    std::vector<float> value;
};

/// Beamlets that are computed together.
class BeamletGroup {
public:
    BeamletGroup(const BeamletWork& work, const std::vector<std::uint32_t>& members, Monitor& monitor,
                 int threads)
        : work_(work), members_(members), kernels_(kernels()), monitor_(monitor), threads_(threads) {
        cylinder_.reserve(members.size());
        for (const std::uint32_t b : members) {
            cylinder_.emplace_back(work.patient.grid(), work.rays.layout, work.cylinders[b]);
        }
    }

    void compute(std::vector<DoseColumn>& columns) {
        release_energy();
        monitor_.throw_if_stopped();
        trace_rows();
        monitor_.throw_if_stopped();
        gather(columns);
        monitor_.throw_if_stopped();
    }

private:
    /// A step by which voxels of a row come to positions of a beamlet.
    struct Meeting {
        StepCells::Entry entry;
        std::uint32_t position;
        LaneRange lane;
    };

    struct Scratch {
        explicit Scratch(const BeamletWork& work, const Kernels& kernels)
            : rays(work.rays, longest_row, kernels), dose(longest_row + 2 * lanes),
              unbroken(work.first_steps.count()), traced(work.rays.stencil.rays()) {}
        RowRays rays;
        std::vector<Meeting> meeting;
        std::vector<Hit> hit;
        Buffer<float> dose;
        std::vector<LaneRange>
            unbroken; ///< voxels whose ray has not left the cylinder, after each first step
        std::vector<std::uint32_t> traced; ///< for which beamlet of which row a ray's are known
        std::uint32_t trace = 0;
    };

    /// TERMA of each beamlet.
    void release_energy() {
        const BeamletShares shares(work_.beamlets, members_);
        const Grid& grid = work_.patient.grid();
        std::vector<std::vector<VoxelShare>> slice(static_cast<std::size_t>(grid.shape[2]));
        parallel_for(slice.size(), threads_, [&](std::size_t z) {
            if (!monitor_.stopped()) {
                shares.of_slice(grid, work_.view, static_cast<int>(z), kernels_,
                                [&](const VoxelShare& share) { slice[z].push_back(share); });
                monitor_.ask();
            }
        });
        monitor_.throw_if_stopped();
        std::vector<std::vector<VoxelShare>> share(members_.size());
        for (const std::vector<VoxelShare>& some : slice) {
            for (const VoxelShare& one : some) {
                share[one.beamlet].push_back(one);
            }
        }
        slice.clear();
        terma_.resize(members_.size());
        parallel_for(members_.size(), threads_, [&](std::size_t m) {
            if (!monitor_.stopped()) {
                terma_[m] = make_terma(share[m]);
                share[m] = {};
                monitor_.ask();
            }
        });
    }

    TermaColumn make_terma(const std::vector<VoxelShare>& shares) const {
        std::vector<Index3> voxels;
        voxels.reserve(shares.size());
        for (const VoxelShare& share : shares) {
            voxels.push_back({share.voxel[0], share.voxel[1], share.voxel[2]});
        }
        std::vector<float> depths;
        if (work_.settings.depth_rule == DepthRule::first_ray) {
            depths = first_ray_depths(work_.patient, work_.beam.source, work_.rays.layout, voxels);
        }
        std::vector<RowLayout::Place> places;
        std::vector<float> terma;
        for (std::size_t i = 0; i < shares.size(); ++i) {
            if (!work_.patient.near(work_.patient.grid().number(voxels[i]))) {
                continue;
            }
            const double depth = depths.empty() ? center_depth(work_.patient, work_.beam.source, voxels[i])
                                                : static_cast<double>(depths[i]);
            places.push_back(work_.rays.layout.place(voxels[i]));
            terma.push_back(shares[i].share * static_cast<float>(work_.terma(depth)));
        }
        return TermaColumn(work_.rays.layout, places, terma);
    }

    void trace_rows() {
        constexpr std::size_t rows_per_piece = 16;
        piece_.resize((work_.rows.size() + rows_per_piece - 1) / rows_per_piece);
        const double parts = static_cast<double>(members_.size()) / static_cast<double>(piece_.size());
        parallel_pieces(work_.rows.size(), rows_per_piece, threads_,
                        [&](std::size_t piece, std::size_t begin, std::size_t end) {
                            std::unique_ptr<Scratch> scratch = take_scratch();
                            for (std::size_t row = begin; row < end && !monitor_.stopped(); ++row) {
                                trace_row(static_cast<std::uint32_t>(row), *scratch, piece_[piece]);
                                monitor_.ask();
                            }
                            give_scratch(std::move(scratch));
                            monitor_.add(parts);
                        });
    }

    void trace_row(std::uint32_t number, Scratch& scratch, PieceDoses& doses) const {
        const VoxelRow& row = work_.rows[number];
        const RowLayout& layout = work_.rays.layout;
        const Grid& grid = work_.patient.grid();
        const Vec3 from = grid.center(layout.voxel({{row.row[0], row.row[1]}, 0}));
        const Vec3 step = grid.center(layout.voxel({{row.row[0], row.row[1]}, 1})) - from;
        scratch.rays.begin(row);
        for (std::size_t m = 0; m < members_.size(); ++m) {
            const LaneRange inside = cylinder_[m].lanes_of(row.row[0], row.row[1]);
            const int begin = std::max(row.begin, inside.begin);
            const int end = std::min(row.end, inside.end);
            if (begin < end && find_hits(row, begin, end, m, scratch)) {
                add_dose(number, begin, end, m, scratch, doses, from, step);
            }
        }
    }

    /// Where the rays of a row's voxels meet the TERMA of a beamlet.
    bool find_hits(const VoxelRow& row, int begin, int end, std::size_t m, Scratch& scratch) const {
        const std::vector<TermaColumn::PositionRow>& positions = terma_[m].positions();
        ++scratch.trace;
        std::size_t found = 0;
        for (std::size_t p = 0; p < positions.size(); ++p) {
            const TermaColumn::PositionRow& position = positions[p];
            const auto [first, last] =
                work_.cells.to(position.row[0] - row.row[0], position.row[1] - row.row[1]);
            // Whether voxels meet a position here is anyone's guess, also the processor's: no branch.
            if (scratch.meeting.size() < found + static_cast<std::size_t>(last - first)) {
                scratch.meeting.resize(2 * found + static_cast<std::size_t>(last - first));
            }
            Meeting* const meeting = scratch.meeting.data();
            for (const StepCells::Entry* entry = first; entry != last; ++entry) {
                const int from = std::max(begin, position.begin - entry->lane);
                const int to = std::min(end, position.end - entry->lane);
                meeting[found] = {*entry, static_cast<std::uint32_t>(p), {from, to}};
                found += static_cast<std::size_t>(from < to);
            }
        }
        scratch.hit.resize(found);
        std::size_t hits = 0;
        for (std::size_t i = 0; i < found; ++i) {
            const Meeting& meeting = scratch.meeting[i];
            const LaneRange unbroken = unbroken_rays(row, {begin, end}, m, meeting.entry, scratch);
            const int from = std::max(meeting.lane.begin, unbroken.begin);
            const int to = std::min(meeting.lane.end, unbroken.end);
            scratch.rays.need(meeting.entry.ray, meeting.entry.step);
            scratch.hit[hits] = {meeting.entry.step, meeting.position, from - row.begin,
                                 static_cast<std::uint32_t>(to - from)};
            hits += static_cast<std::size_t>(from < to);
        }
        scratch.hit.resize(hits);
        return !scratch.hit.empty();
    }

    /// Voxels of a row whose ray up to a step does not leave the cylinder.
    LaneRange unbroken_rays(const VoxelRow& row, LaneRange inside, std::size_t m,
                            const StepCells::Entry& entry, Scratch& scratch) const {
        const FirstSteps& steps = work_.first_steps;
        LaneRange* const unbroken = scratch.unbroken.data() + steps.first(entry.ray);
        const auto first = static_cast<std::uint32_t>(work_.rays.stencil.first(entry.ray));
        if (scratch.traced[entry.ray] != scratch.trace) {
            scratch.traced[entry.ray] = scratch.trace;
            for (std::uint32_t s = first; s <= steps.last(entry.ray); ++s) {
                const RayStep& step = work_.rays.stencil.steps()[s];
                const LaneRange range =
                    cylinder_[m].lanes_of(row.row[0] + step.row[0], row.row[1] + step.row[1]);
                inside.begin = std::max(inside.begin, range.begin - step.lane);
                inside.end = std::min(inside.end, range.end - step.lane);
                unbroken[s - first] = inside;
            }
        }
        return unbroken[std::min(entry.step, steps.last(entry.ray)) - first];
    }

    void add_dose(std::uint32_t number, int begin, int end, std::size_t m, Scratch& scratch,
                  PieceDoses& doses, const Vec3& from, const Vec3& step) const {
        const VoxelRow& row = work_.rows[number];
        std::fill(scratch.dose.data(), scratch.dose.data() + scratch.dose.size(), 0.0F);
        const Coupling coupling{
            terma_[m].data(),     terma_[m].corner_rows(), work_.rays.stencil.steps().data(),
            scratch.rays.parts(), scratch.rays.stride(),   row.begin};
        kernels_.add_hits(coupling, scratch.hit.data(), scratch.hit.size(), scratch.dose.data());
        doses.row.push_back({static_cast<std::uint32_t>(m), number, begin, end, doses.value.size()});
        const double inverse_square = work_.beam.sad * work_.beam.sad / work_.settings.azimuth;
        for (int lane = begin; lane < end; ++lane) {
            const Vec3 seen = from + static_cast<double>(lane) * step - work_.beam.source;
            doses.value.push_back(scratch.dose[static_cast<std::size_t>(lane - row.begin)] *
                                  static_cast<float>(inverse_square / dot(seen, seen)));
        }
    }

    /// Puts each beamlet's doses together, without those below the cutoff.
    void gather(std::vector<DoseColumn>& columns) {
        struct Part {
            std::uint32_t piece;
            std::uint32_t row;
        };
        std::vector<std::vector<Part>> part(members_.size());
        for (std::size_t piece = 0; piece < piece_.size(); ++piece) {
            for (std::size_t r = 0; r < piece_[piece].row.size(); ++r) {
                part[piece_[piece].row[r].member].push_back(
                    {static_cast<std::uint32_t>(piece), static_cast<std::uint32_t>(r)});
            }
        }
        parallel_for(members_.size(), threads_, [&](std::size_t m) {
            std::vector<VoxelDose> entries;
            for (const Part& some : part[m]) {
                append(piece_[some.piece], some.row, entries);
            }
            columns[members_[m]] = kept(entries);
        });
    }

    void append(const PieceDoses& doses, std::size_t number, std::vector<VoxelDose>& entries) const {
        const RowDose& dose = doses.row[number];
        const VoxelRow& row = work_.rows[dose.row];
        const RowLayout& layout = work_.rays.layout;
        const Grid& grid = work_.patient.grid();
        std::size_t voxel = grid.number(layout.voxel({{row.row[0], row.row[1]}, dose.begin}));
        const std::array<std::ptrdiff_t, 3> strides = grid.strides();
        const auto next =
            static_cast<std::size_t>(strides[layout.axis[0]] + layout.slope[0] * strides[layout.axis[1]] +
                                     layout.slope[1] * strides[layout.axis[2]]);
        const float* const value = doses.value.data() + dose.first - dose.begin;
        for (int lane = dose.begin; lane < dose.end; ++lane, voxel += next) {
            if (value[lane] > 0.0F && work_.patient.wanted(voxel)) {
                entries.push_back({static_cast<std::uint32_t>(voxel), value[lane]});
            }
        }
    }

    DoseColumn kept(std::vector<VoxelDose>& entries) const {
        float highest = 0.0F;
        for (const VoxelDose& entry : entries) {
            highest = std::max(highest, entry.dose);
        }
        const auto least = static_cast<float>(work_.settings.cutoff * static_cast<double>(highest));
        entries.erase(std::remove_if(entries.begin(), entries.end(),
                                     [least](const VoxelDose& entry) { return entry.dose < least; }),
                      entries.end());
        std::vector<VoxelDose> scratch;
        sort_by_voxel(entries, scratch);
        DoseColumn column;
        column.voxel.reserve(entries.size());
        column.dose.reserve(entries.size());
        for (const VoxelDose& entry : entries) {
            column.voxel.push_back(static_cast<std::int32_t>(entry.voxel));
            column.dose.push_back(entry.dose);
        }
        return column;
    }

    std::unique_ptr<Scratch> take_scratch() {
        {
            const std::lock_guard lock(mutex_);
            if (!scratch_.empty()) {
                std::unique_ptr<Scratch> scratch = std::move(scratch_.back());
                scratch_.pop_back();
                return scratch;
            }
        }
        return std::make_unique<Scratch>(work_, kernels_);
    }
    void give_scratch(std::unique_ptr<Scratch> scratch) {
        const std::lock_guard lock(mutex_);
        scratch_.push_back(std::move(scratch));
    }

    const BeamletWork& work_;
    const std::vector<std::uint32_t>& members_;
    const Kernels& kernels_;
    Monitor& monitor_;
    int threads_;
    std::vector<CylinderRows> cylinder_;
    std::vector<TermaColumn> terma_;
    std::vector<PieceDoses> piece_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<Scratch>> scratch_;
};

} // namespace

SparseColumns compute_beamlets(const Patient& patient, const KernelTables& tables, const Beam& beam,
                               const Beamlets& beamlets, const Settings& settings,
                               const Monitor::Report& report, int threads) {
    check(settings);
    check(tables);
    check(beam, patient.grid());
    check(beamlets, beam);
    std::vector<DoseColumn> columns(beamlets.size());
    if (beamlets.size() > 0) {
        Monitor monitor(report, beamlets.size());
        const BeamletWork work(patient, tables, beam, beamlets, settings);
        for (const std::vector<std::uint32_t>& members : group_beamlets(beamlets)) {
            BeamletGroup(work, members, monitor, threads).compute(columns);
        }
        if (std::all_of(columns.begin(), columns.end(),
                        [](const DoseColumn& column) { return column.dose.empty(); })) {
            throw std::invalid_argument(
                "no beamlet of the " + std::to_string(beamlets.size()) +
                " meets the patient: the field lies outside the density grid or in air");
        }
        monitor.finish();
    }
    return SparseColumns::from(columns, threads);
}

BeamletEstimate estimate_beamlets(const Patient& patient, const Beam& beam, const Beamlets& beamlets,
                                  const Settings& settings) {
    check(settings);
    check(beam, patient.grid());
    check(beamlets, beam);
    const Grid& grid = patient.grid();
    double entries = 0.0;
    for (const Cylinder& cylinder : make_cylinders(grid, beam, beamlets, settings)) {
        double inside_mm = 0.0;
        for (VoxelWalk walk(grid, beam.source, cylinder.axis(), 1e6); walk.inside(); walk.advance()) {
            if (patient.wanted(static_cast<std::size_t>(walk.number()))) {
                inside_mm += walk.leaves() - walk.enters();
            }
        }
        const double area = 3.14159265358979 * cylinder.radius() * cylinder.radius();
        entries += std::fmin(area * (inside_mm + cylinder.radius()) / grid.voxel_volume(),
                             static_cast<double>(grid.voxels()));
    }
    constexpr double bytes_per_entry = sizeof(std::int32_t) + sizeof(float);
    constexpr double bytes_per_voxel = 3.0 * sizeof(float);
    return {entries, bytes_per_entry * entries + bytes_per_voxel * static_cast<double>(grid.voxels())};
}

} // namespace brimstone::dose
