#pragma once

#include <cstddef>
#include <cstdint>

namespace brimstone {

/// Shape of a tile of the dose matrix: 16 consecutive rows of 2 consecutive columns.
constexpr std::size_t tile_rows = 16;
constexpr std::size_t tile_columns = 2;
constexpr std::size_t tile_entries = tile_rows * tile_columns;
/// Tiles along the rows of a block; a block's accumulators stay in the first-level cache.
constexpr std::size_t block_tiles = 64;
constexpr std::size_t block_rows = block_tiles * tile_rows;

/// One pair of columns inside one block. It ends where the next run begins.
struct Run {
    std::uint32_t column_pair;
    std::uint32_t first_tile;
    std::uint32_t first_loose;
};

/// An entry that shares its tile with too few others.
struct LooseEntry {
    std::uint16_t place; ///< row in the block × 2 + column in the pair
    std::uint16_t value;
};

/// The matrix's arrays. Tiles are stored as [column][row] of 16-bit values.
struct TileData {
    const Run* run;
    const std::uint16_t* value;
    const std::uint8_t* row;   ///< of each tile, in its block, in units of `tile_rows`
    const std::uint32_t* slot; ///< of each run: where its sums belong
    const LooseEntry* loose;
};

/// How the quantity that is binned follows from dose: it is dose, or c0 + c1 d + c2 d² with the same
/// coefficients in all voxels or with each voxel's own.
enum class Mapping { none, uniform, each };

/// Voxels of a structure, by their numbers, with the share of its volume in each; and the doses of all
/// voxels.
struct StructureVoxels {
    const std::uint32_t* voxel;
    const double* volume;
    std::size_t count;
    const double* dose;
    const double* wide_dose;
    Mapping mapping = Mapping::none;
    const double* c0 = nullptr; ///< of the structure's voxels, or one for all
    const double* c1 = nullptr;
    const double* c2 = nullptr;
};

struct BinScale {
    double bins_per_unit; ///< of the quantity: Gy, if it is dose
    int padding;          ///< bins below zero
};

/// Volume between two bins: all of it, and its part that belongs to the upper one.
struct alignas(32) HistogramCell {
    static constexpr std::size_t copies = 2; ///< neighboring voxels often fall between the same bins
    double wide = 0.0;
    double narrow = 0.0;
    double wide_above = 0.0;
    double narrow_above = 0.0;
};

/// The smoothed slopes of a cost between two bins: at the lower one, and how much they rise.
struct alignas(32) SlopeCell {
    double wide;
    double narrow;
    double wide_rise;
    double narrow_rise;
};

/// Doses at a few points of a line, and how to combine them.
struct LineNodes {
    static constexpr std::size_t count = 5; ///< the first one is the line's start
    double share[count];                    ///< of each node; they sum to 1
    const float* start_dose;
    const float* start_wide;
    const float* dose[count - 1]; ///< of the other nodes, without the base dose
    const float* wide[count - 1];
    const double* base_dose; ///< what does not change along the line, contained in the start; or null
};

/// The loops that take nearly all the time, compiled once for each instruction set.
///
/// All versions do the same operations in the same order, without contraction, and give bitwise the same
/// result.
struct Kernels {
    const char* name;

    /// sum += D · w for runs [first, last) of one block. Weights are [column pair][column][n_rhs], sums
    /// [row / 16][n_rhs][16].
    void (*add_runs_1)(const TileData&, std::size_t first, std::size_t last, const float* weight, float* sum);
    void (*add_runs_2)(const TileData&, std::size_t first, std::size_t last, const float* weight, float* sum);
    void (*add_runs_8)(const TileData&, std::size_t first, std::size_t last, const float* weight, float* sum);

    /// sum[slot][column][n_rhs] = Dᵀ · r for runs [first, last) of one block, with residuals as
    /// [row / 16][n_rhs][16].
    void (*sum_runs_1)(const TileData&, std::size_t first, std::size_t last, const float* residual,
                       float* sum);
    void (*sum_runs_2)(const TileData&, std::size_t first, std::size_t last, const float* residual,
                       float* sum);

    /// result += kernel ⋆ signal, for a symmetric kernel given by its center and one side.
    void (*convolve)(const double* tap, std::size_t half_width, const double* signal, std::size_t size,
                     double* result);

    /// Adds voxels of a structure to the cells of a histogram; `copies` of them lie behind each other.
    void (*deposit)(const StructureVoxels& voxels, const BinScale& scale, HistogramCell* cell,
                    std::size_t bins);

    /// Adds the derivatives of a term for voxels of a structure: with respect to their doses and wide doses,
    /// from `first_voxel` on.
    void (*add_slopes)(const StructureVoxels& voxels, const BinScale& scale, const SlopeCell* cell,
                       double weight, double share_slope, std::size_t first_voxel, double* along_dose,
                       double* along_wide);

    /// Doses and wide doses at a point of a line, interpolated between its nodes. `dose` is limited to at
    /// least 0, `wide_dose` to [0, dose].
    void (*interpolate)(const LineNodes& nodes, std::size_t begin, std::size_t end, double* dose,
                        double* wide_dose);

    /// The highest of some numbers that are not negative; NaN when one is not finite.
    double (*highest)(const double* value, std::size_t size);

    /// A block's rows of one right-hand side, every `tile_rows` of them `stride` numbers apart, and back.
    void (*pack)(const double* row, std::size_t count, std::size_t stride, float* packed);
    void (*unpack_to_double)(const float* packed, std::size_t count, std::size_t stride, double* row);
    void (*unpack_to_float)(const float* packed, std::size_t count, std::size_t stride, float* row);
};

/// The version in use: the widest one that this processor has, unless another was chosen.
const Kernels& kernels();

/// Chooses a version by its name.
/// @throws std::invalid_argument  when there is none of that name or the processor lacks it
void use_kernels(const char* name);

/// Names of the versions that this processor can run, widest first, then null.
const char* const* available_kernels();

} // namespace brimstone
