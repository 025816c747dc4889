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
    const std::uint8_t* row; ///< of each tile, in its block, in units of `tile_rows`
    const LooseEntry* loose;
};

/// Doses at a few points of a line, and how to combine them.
struct LineNodes {
    static constexpr std::size_t count = 5; ///< the first one is the line's start
    double share[count];                    ///< of each node; they sum to 1
    const double* start_dose;
    const double* start_wide;
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

    /// sum[run][column][n_rhs] = Dᵀ · r for runs [first, last) of one block, with residuals as
    /// [row / 16][n_rhs][16].
    void (*sum_runs_1)(const TileData&, std::size_t first, std::size_t last, const float* residual,
                       float* sum);
    void (*sum_runs_2)(const TileData&, std::size_t first, std::size_t last, const float* residual,
                       float* sum);

    /// result += kernel ⋆ signal, for a symmetric kernel given by its centre and one side.
    void (*convolve)(const double* tap, std::size_t half_width, const double* signal, std::size_t size,
                     double* result);

    /// Where doses fall: bin and fraction of the way to the next one, and the volumes of both kernels.
    void (*locate)(const double* dose, const double* wide_dose, const double* volume, std::size_t size,
                   double bins_per_gray, int padding, std::int32_t* bin, double* fraction, double* wide,
                   double* narrow);

    /// From a voxel's gain, the slope of the cost for a volume that moves to the wide kernel, to the
    /// derivative for its wide dose, in place; what that means for its dose is added to `along_dose`.
    void (*share_slopes)(const double* dose, const double* wide_dose, const double* volume, double weight,
                         std::size_t size, double* gain, double* along_dose);

    /// Doses and wide doses at a point of a line, interpolated between its nodes. `dose` is limited to at
    /// least 0, `wide_dose` to [0, dose]. Returns the highest dose.
    double (*interpolate)(const LineNodes& nodes, std::size_t begin, std::size_t end, double* dose,
                          double* wide_dose);

    /// The highest of some numbers that are not negative.
    double (*highest)(const double* value, std::size_t size);
};

/// The version in use: the widest one that this processor has, unless another was chosen.
const Kernels& kernels();

/// Chooses a version by its name.
/// @throws std::invalid_argument  when there is none of that name or the processor lacks it
void use_kernels(const char* name);

/// Names of the versions that this processor can run, widest first, then null.
const char* const* available_kernels();

} // namespace brimstone
