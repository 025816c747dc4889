/// The kernels, written once. Included by one source file for each instruction set, which defines `Lanes`
/// before, and everything here has internal linkage: no other file may come to use a copy that its
/// processor cannot run.

#include <cstddef>
#include <cstdint>

#include "brimstone/kernels/kernels.hpp"

namespace brimstone {
namespace {

/// Tiles ahead of the one in work that are asked for; memory is the limit, and a block's runs are read once.
constexpr std::size_t prefetch_entries = 32 * tile_entries;

inline void prefetch(const std::uint16_t* value) {
#if defined(__GNUC__)
    __builtin_prefetch(value + prefetch_entries);
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
        float* const s = sum + i * tile_columns * NRhs;
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

void locate(const double* dose, const double* wide_dose, const double* volume, std::size_t size,
            double bins_per_gray, int padding, std::int32_t* bin, double* fraction, double* wide,
            double* narrow) {
    for (std::size_t i = 0; i < size; ++i) {
        // Doses are not negative: cutting off is rounding down.
        const double position = dose[i] * bins_per_gray;
        const auto whole = static_cast<std::int32_t>(position);
        bin[i] = whole + padding;
        fraction[i] = position - static_cast<double>(whole);
        const double share = dose[i] > 0.0 ? wide_dose[i] / dose[i] : 0.0;
        wide[i] = volume[i] * share;
        narrow[i] = volume[i] - wide[i];
    }
}

void share_slopes(const double* dose, const double* wide_dose, const double* volume, double weight,
                  std::size_t size, double* gain, double* along_dose) {
    for (std::size_t i = 0; i < size; ++i) {
        const double per_dose = dose[i] > 0.0 ? 1.0 / dose[i] : 0.0;
        const double wide_slope = weight * volume[i] * gain[i] * per_dose;
        along_dose[i] -= wide_slope * (wide_dose[i] * per_dose);
        gain[i] = wide_slope;
    }
}

/// The highest of numbers that are not negative, in lanes that do not wait for each other.
class Highest {
public:
    static constexpr std::size_t lanes = 8;

    void add(const double* eight) {
        for (std::size_t l = 0; l < lanes; ++l) {
            lane_[l] = eight[l] > lane_[l] ? eight[l] : lane_[l];
        }
    }
    void add_one(double value) { lane_[0] = value > lane_[0] ? value : lane_[0]; }
    double value() const {
        double highest = 0.0;
        for (const double l : lane_) {
            highest = l > highest ? l : highest;
        }
        return highest;
    }

private:
    double lane_[lanes] = {};
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
        double d = share[0] * nodes.start_dose[i];
        if (HasBase) {
            d += base_share * nodes.base_dose[i];
        }
        d += share[1] * static_cast<double>(d1[i]);
        d += share[2] * static_cast<double>(d2[i]);
        d += share[3] * static_cast<double>(d3[i]);
        d += share[4] * static_cast<double>(d4[i]);
        double w = share[0] * nodes.start_wide[i];
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

double interpolate(const LineNodes& nodes, std::size_t begin, std::size_t end, double* dose,
                   double* wide_dose) {
    constexpr std::size_t at_once = 512; // stay in the first-level cache
    double maximum = 0.0;
    for (; begin < end; begin += at_once) {
        const std::size_t stop = begin + at_once < end ? begin + at_once : end;
        if (nodes.base_dose != nullptr) {
            interpolate_all<true>(nodes, begin, stop, dose, wide_dose);
        } else {
            interpolate_all<false>(nodes, begin, stop, dose, wide_dose);
        }
        const double here = highest(dose + begin, stop - begin);
        maximum = here > maximum ? here : maximum;
    }
    return maximum;
}

constexpr Kernels kernels_named(const char* name) {
    return {name,     add_runs<1>, add_runs<2>,  add_runs<8>, sum_runs<1>, sum_runs<2>,
            convolve, locate,      share_slopes, interpolate, highest};
}

} // namespace
} // namespace brimstone
