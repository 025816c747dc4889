/// The kernels, written once. Included by one source file for each instruction set, which defines `Lanes`
/// before, and everything here has internal linkage: no other file may come to use a copy that its
/// processor cannot run.

#include <cstddef>
#include <cstdint>

#include "brimstone/support/kernels/kernels.hpp"

namespace brimstone {
namespace { // NOLINT(cert-dcl59-cpp,misc-anonymous-namespace-in-header): each includer has its own copy

/// Tiles ahead of the one in work that are asked for: 16 kB, into the second-level cache, as the first one
/// can wait for few lines at a time.
constexpr std::size_t prefetch_entries = 256 * tile_entries;

inline void prefetch(const std::uint16_t* value) {
#ifdef __GNUC__
    constexpr int to_read = 0;
    constexpr int second_level = 2;
    __builtin_prefetch(value + prefetch_entries, to_read, second_level);
#else
    static_cast<void>(value);
#endif
}

template <int NRhs>
void add_loose(const LooseEntry* entry, const LooseEntry* end, const float* weight, float* sum) {
    for (; entry != end; ++entry) {
        const std::size_t row = entry->place / tile_columns;
        const float* const w = weight + (entry->place % tile_columns) * NRhs;
        float* const s = sum + row / tile_rows * tile_rows * NRhs + row % tile_rows;
        const float value = entry->value;
        for (int r = 0; r < NRhs; ++r) {
            s[static_cast<std::size_t>(r) * tile_rows] += value * w[r];
        }
    }
}

template <int NRhs>
void add_runs(const TileData& data, std::size_t first, std::size_t last, const float* weight, float* sum) {
    for (const Run* run = data.run + first; run != data.run + last; ++run) {
        const float* const w = weight + std::size_t{run->column_pair} * tile_columns * NRhs;
        Lanes left[NRhs];
        Lanes right[NRhs];
        for (int r = 0; r < NRhs; ++r) {
            left[r] = Lanes::broadcast(w[r]);
            right[r] = Lanes::broadcast(w[NRhs + r]);
        }
        const std::uint16_t* value = data.value + std::size_t{run->first_tile} * tile_entries;
        for (std::size_t tile = run->first_tile; tile != run[1].first_tile; ++tile) {
            prefetch(value);
            const Lanes a = Lanes::from_values(value);
            const Lanes b = Lanes::from_values(value + tile_rows);
            value += tile_entries;
            float* const s = sum + std::size_t{data.row[tile]} * tile_rows * NRhs;
            for (int r = 0; r < NRhs; ++r) {
                float* const at = s + static_cast<std::size_t>(r) * tile_rows;
                (Lanes::load(at) + (a * left[r] + b * right[r])).store(at);
            }
        }
        add_loose<NRhs>(data.loose + run->first_loose, data.loose + run[1].first_loose, w, sum);
    }
}

template <int NRhs>
void sum_loose(const LooseEntry* entry, const LooseEntry* end, const float* residual, float* sum) {
    for (; entry != end; ++entry) {
        const std::size_t row = entry->place / tile_columns;
        float* const s = sum + (entry->place % tile_columns) * NRhs;
        const float* const voxel = residual + row / tile_rows * tile_rows * NRhs + row % tile_rows;
        const float value = entry->value;
        for (int r = 0; r < NRhs; ++r) {
            s[r] += value * voxel[static_cast<std::size_t>(r) * tile_rows];
        }
    }
}

template <int NRhs>
void sum_runs(const TileData& data, std::size_t first, std::size_t last, const float* residual, float* sum) {
    for (std::size_t i = first; i < last; ++i) {
        const Run* const run = data.run + i;
        Lanes left[NRhs];
        Lanes right[NRhs];
        for (int r = 0; r < NRhs; ++r) {
            left[r] = Lanes::broadcast(0.0F);
            right[r] = Lanes::broadcast(0.0F);
        }
        const std::uint16_t* value = data.value + std::size_t{run->first_tile} * tile_entries;
        for (std::size_t tile = run->first_tile; tile != run[1].first_tile; ++tile) {
            prefetch(value);
            const Lanes a = Lanes::from_values(value);
            const Lanes b = Lanes::from_values(value + tile_rows);
            value += tile_entries;
            const float* const voxel = residual + std::size_t{data.row[tile]} * tile_rows * NRhs;
            for (int r = 0; r < NRhs; ++r) {
                const Lanes v = Lanes::load(voxel + static_cast<std::size_t>(r) * tile_rows);
                left[r] = left[r] + a * v;
                right[r] = right[r] + b * v;
            }
        }
        float* const s = sum + std::size_t{data.slot[i]} * tile_columns * NRhs;
        for (int r = 0; r < NRhs; ++r) {
            s[r] = left[r].sum();
            s[NRhs + r] = right[r].sum();
        }
        sum_loose<NRhs>(data.loose + run->first_loose, data.loose + run[1].first_loose, residual, s);
    }
}

void convolve(const double* tap, std::size_t half_width, const double* signal, std::size_t size,
              double* result) {
    // Bins in strips that stay in registers, each with all taps; what lies outside the signal is zero.
    constexpr std::size_t strip = 16;
    for (std::size_t first = 0; first < size; first += strip) {
        double sum[strip] = {};
        if (first >= half_width && first + strip + half_width <= size) {
            const double* const s = signal + first;
            for (std::size_t i = 0; i < strip; ++i) {
                sum[i] = tap[0] * s[i];
            }
            for (std::size_t shift = 1; shift <= half_width; ++shift) {
                const double t = tap[shift];
                const double* const below = s - shift;
                const double* const above = s + shift;
                for (std::size_t i = 0; i < strip; ++i) {
                    sum[i] += t * (below[i] + above[i]);
                }
            }
        } else {
            for (std::size_t i = 0; i < strip && first + i < size; ++i) {
                const std::size_t k = first + i;
                sum[i] = tap[0] * signal[k];
                for (std::size_t shift = 1; shift <= half_width; ++shift) {
                    const double below = shift <= k ? signal[k - shift] : 0.0;
                    const double above = k + shift < size ? signal[k + shift] : 0.0;
                    sum[i] += tap[shift] * (below + above);
                }
            }
        }
        for (std::size_t i = 0; i < strip && first + i < size; ++i) {
            result[first + i] += sum[i];
        }
    }
}

constexpr std::size_t voxels_at_once = 128;

/// Most voxels of a structure do, and need not be looked up one by one.
inline bool follow_each_other(const std::uint32_t* voxel, std::size_t count) {
    return voxel[count - 1] - voxel[0] == count - 1;
}

/// Some voxels, and where their quantities fall: from a bin a fraction of the way to the next one.
template <Mapping M>
struct Located {
    double dose[voxels_at_once];
    double wide_dose[voxels_at_once];
    std::int32_t bin[voxels_at_once];
    double fraction[voxels_at_once];
    double wide[voxels_at_once];                           ///< volume for the wide kernel
    double narrow[voxels_at_once];                         ///< and for the narrow one
    double per_dose[voxels_at_once];                       ///< 1 / dose, or 0
    double slope[M == Mapping::none ? 1 : voxels_at_once]; ///< of the quantity by dose

    void locate(const StructureVoxels& voxels, std::size_t begin, std::size_t count, const BinScale& scale) {
        const std::uint32_t* const voxel = voxels.voxel + begin;
        const double* const volume = voxels.volume + begin;
        if (follow_each_other(voxel, count)) {
            const double* const doses = voxels.dose + voxel[0];
            const double* const wide_doses = voxels.wide_dose + voxel[0];
            for (std::size_t i = 0; i < count; ++i) {
                dose[i] = doses[i];
                wide_dose[i] = wide_doses[i];
            }
        } else {
            for (std::size_t i = 0; i < count; ++i) {
                dose[i] = voxels.dose[voxel[i]];
                wide_dose[i] = voxels.wide_dose[voxel[i]];
            }
        }
        const std::size_t first = M == Mapping::each ? begin : 0;
        const double* const c0 = voxels.c0 + first;
        const double* const c1 = voxels.c1 + first;
        const double* const c2 = voxels.c2 + first;
        for (std::size_t i = 0; i < count; ++i) {
            double quantity = dose[i];
            if constexpr (M != Mapping::none) {
                const std::size_t at = M == Mapping::each ? i : 0;
                const double quadratic = c2[at] * dose[i];
                quantity = c0[at] + dose[i] * (c1[at] + quadratic);
                slope[i] = c1[at] + 2.0 * quadratic;
            }
            // Quantities are not negative: cutting off is rounding down.
            const double position = quantity * scale.bins_per_unit;
            const auto whole = static_cast<std::int32_t>(position);
            bin[i] = whole + scale.padding;
            fraction[i] = position - static_cast<double>(whole);
            per_dose[i] = dose[i] > 0.0 ? 1.0 / dose[i] : 0.0;
            wide[i] = volume[i] * (wide_dose[i] * per_dose[i]);
            narrow[i] = volume[i] - wide[i];
        }
    }
};

template <Mapping M>
void deposit_mapped(const StructureVoxels& voxels, const BinScale& scale, HistogramCell* cell,
                    std::size_t bins) {
    Located<M> at;
    for (std::size_t begin = 0; begin < voxels.count; begin += voxels_at_once) {
        const std::size_t rest = voxels.count - begin;
        const std::size_t count = rest < voxels_at_once ? rest : voxels_at_once;
        at.locate(voxels, begin, count, scale);
        double wide_above[voxels_at_once];
        double narrow_above[voxels_at_once];
        for (std::size_t i = 0; i < count; ++i) {
            wide_above[i] = at.wide[i] * at.fraction[i];
            narrow_above[i] = at.narrow[i] * at.fraction[i];
        }
        for (std::size_t i = 0; i < count; ++i) {
            HistogramCell& to = cell[static_cast<std::size_t>(at.bin[i]) + i % HistogramCell::copies * bins];
            to.wide += at.wide[i];
            to.narrow += at.narrow[i];
            to.wide_above += wide_above[i];
            to.narrow_above += narrow_above[i];
        }
    }
}

void deposit(const StructureVoxels& voxels, const BinScale& scale, HistogramCell* cell, std::size_t bins) {
    if (voxels.mapping == Mapping::none) {
        deposit_mapped<Mapping::none>(voxels, scale, cell, bins);
    } else if (voxels.mapping == Mapping::uniform) {
        deposit_mapped<Mapping::uniform>(voxels, scale, cell, bins);
    } else {
        deposit_mapped<Mapping::each>(voxels, scale, cell, bins);
    }
}

template <Mapping M>
void add_slopes_mapped(const StructureVoxels& voxels, const BinScale& scale, const SlopeCell* cell,
                       double weight, double share_slope, std::size_t first_voxel, double* along_dose,
                       double* along_wide) {
    Located<M> at;
    for (std::size_t begin = 0; begin < voxels.count; begin += voxels_at_once) {
        const std::size_t rest = voxels.count - begin;
        const std::size_t count = rest < voxels_at_once ? rest : voxels_at_once;
        at.locate(voxels, begin, count, scale);
        SlopeCell slopes[voxels_at_once];
        for (std::size_t i = 0; i < count; ++i) {
            slopes[i] = cell[at.bin[i]];
        }
        const double* const volume = voxels.volume + begin;
        double for_dose[voxels_at_once];
        double for_wide[voxels_at_once];
        for (std::size_t i = 0; i < count; ++i) {
            const SlopeCell& slope = slopes[i];
            const double gain = (slope.wide + at.fraction[i] * slope.wide_rise) -
                                (slope.narrow + at.fraction[i] * slope.narrow_rise) + share_slope;
            for_wide[i] = weight * volume[i] * gain * at.per_dose[i];
            double along = weight * (at.wide[i] * slope.wide_rise + at.narrow[i] * slope.narrow_rise) *
                           scale.bins_per_unit;
            if constexpr (M != Mapping::none) {
                along *= at.slope[i];
            }
            for_dose[i] = along - for_wide[i] * (at.wide_dose[i] * at.per_dose[i]);
        }
        const std::uint32_t* const voxel = voxels.voxel + begin;
        if (follow_each_other(voxel, count)) {
            double* const dose_slopes = along_dose + (voxel[0] - first_voxel);
            double* const wide_slopes = along_wide + (voxel[0] - first_voxel);
            for (std::size_t i = 0; i < count; ++i) {
                dose_slopes[i] += for_dose[i];
                wide_slopes[i] += for_wide[i];
            }
        } else {
            for (std::size_t i = 0; i < count; ++i) {
                along_dose[voxel[i] - first_voxel] += for_dose[i];
                along_wide[voxel[i] - first_voxel] += for_wide[i];
            }
        }
    }
}

void add_slopes(const StructureVoxels& voxels, const BinScale& scale, const SlopeCell* cell, double weight,
                double share_slope, std::size_t first_voxel, double* along_dose, double* along_wide) {
    const auto add = voxels.mapping == Mapping::none      ? add_slopes_mapped<Mapping::none>
                     : voxels.mapping == Mapping::uniform ? add_slopes_mapped<Mapping::uniform>
                                                          : add_slopes_mapped<Mapping::each>;
    add(voxels, scale, cell, weight, share_slope, first_voxel, along_dose, along_wide);
}

/// Copies numbers between rows and tiles, from `row` when `From` is a row.
template <class From, class To>
void copy_tile(const From* from, std::size_t count, To* to) {
    for (std::size_t lane = 0; lane < count; ++lane) {
        to[lane] = static_cast<To>(from[lane]);
    }
}

void pack(const double* row, std::size_t count, std::size_t stride, float* packed) {
    for (; count >= tile_rows; count -= tile_rows, row += tile_rows, packed += stride) {
        copy_tile(row, tile_rows, packed);
    }
    if (count > 0) {
        copy_tile(row, count, packed);
        for (std::size_t lane = count; lane < tile_rows; ++lane) {
            packed[lane] = 0.0F;
        }
    }
}

template <class Real>
void unpack(const float* packed, std::size_t count, std::size_t stride, Real* row) {
    for (; count >= tile_rows; count -= tile_rows, row += tile_rows, packed += stride) {
        copy_tile(packed, tile_rows, row);
    }
    copy_tile(packed, count, row);
}

/// The highest of numbers that are not negative, in lanes that do not wait for each other.
class Highest {
public:
    static constexpr std::size_t lanes = 8;

    void add(const double* eight) {
        for (std::size_t l = 0; l < lanes; ++l) {
            add_to(l, eight[l]);
        }
    }
    void add_one(double value) { add_to(0, value); }
    double value() const {
        double highest = 0.0;
        double rest = 0.0;
        for (std::size_t l = 0; l < lanes; ++l) {
            highest = lane_[l] > highest ? lane_[l] : highest;
            rest += rest_[l];
        }
        return highest + rest;
    }

private:
    void add_to(std::size_t l, double value) {
        lane_[l] = value > lane_[l] ? value : lane_[l];
        rest_[l] += 0.0 * value;
    }

    double lane_[lanes] = {};
    double rest_[lanes] = {}; ///< 0, or NaN once a number was not finite
};

double highest(const double* value, std::size_t size) {
    Highest result;
    std::size_t i = 0;
    for (; i + Highest::lanes <= size; i += Highest::lanes) {
        result.add(value + i);
    }
    for (; i < size; ++i) {
        result.add_one(value[i]);
    }
    return result.value();
}

template <bool HasBase>
void interpolate_all(const LineNodes& nodes, std::size_t begin, std::size_t end, double* dose,
                     double* wide_dose) {
    const double* const share = nodes.share;
    const double base_share = 1.0 - share[0];
    const float* const d1 = nodes.dose[0];
    const float* const d2 = nodes.dose[1];
    const float* const d3 = nodes.dose[2];
    const float* const d4 = nodes.dose[3];
    const float* const w1 = nodes.wide[0];
    const float* const w2 = nodes.wide[1];
    const float* const w3 = nodes.wide[2];
    const float* const w4 = nodes.wide[3];
    for (std::size_t i = begin; i < end; ++i) {
        double d = share[0] * static_cast<double>(nodes.start_dose[i]);
        if (HasBase) {
            d += base_share * nodes.base_dose[i];
        }
        d += share[1] * static_cast<double>(d1[i]);
        d += share[2] * static_cast<double>(d2[i]);
        d += share[3] * static_cast<double>(d3[i]);
        d += share[4] * static_cast<double>(d4[i]);
        double w = share[0] * static_cast<double>(nodes.start_wide[i]);
        w += share[1] * static_cast<double>(w1[i]);
        w += share[2] * static_cast<double>(w2[i]);
        w += share[3] * static_cast<double>(w3[i]);
        w += share[4] * static_cast<double>(w4[i]);
        d = d > 0.0 ? d : 0.0;
        w = w > 0.0 ? w : 0.0;
        dose[i] = d;
        wide_dose[i] = w < d ? w : d;
    }
}

void interpolate(const LineNodes& nodes, std::size_t begin, std::size_t end, double* dose,
                 double* wide_dose) {
    if (nodes.base_dose != nullptr) {
        interpolate_all<true>(nodes, begin, end, dose, wide_dose);
    } else {
        interpolate_all<false>(nodes, begin, end, dose, wide_dose);
    }
}

constexpr Kernels kernels_named(const char* name) {
    return {name,    add_runs<1>, add_runs<2>, add_runs<8>, sum_runs<1>, sum_runs<2>,    convolve,
            deposit, add_slopes,  interpolate, highest,     pack,        unpack<double>, unpack<float>};
}

} // namespace
} // namespace brimstone
