#include <immintrin.h>

#include "dose/kernels/kernels.hpp"

namespace {

using brimstone::dose::KernelCell;

struct Lanes {
    __m512 lane;

    static Lanes broadcast(float value) { return {_mm512_set1_ps(value)}; }
    static Lanes load(const float* from) { return {_mm512_loadu_ps(from)}; }
    void store(float* to) const { _mm512_storeu_ps(to, lane); }
    static Lanes least(const Lanes& a, const Lanes& b) { return {_mm512_min_ps(a.lane, b.lane)}; }
    static Lanes greatest(const Lanes& a, const Lanes& b) { return {_mm512_max_ps(a.lane, b.lane)}; }
    static Lanes look_up(const KernelCell* cell, const Lanes& at) {
        const __m512i whole = _mm512_cvttps_epi32(at.lane);
        const __m512 fraction = _mm512_sub_ps(at.lane, _mm512_cvtepi32_ps(whole));
        const __m512 low = _mm512_castpd_ps(_mm512_i32gather_pd(_mm512_castsi512_si256(whole), cell, 8));
        const __m512 high =
            _mm512_castpd_ps(_mm512_i32gather_pd(_mm512_extracti64x4_epi64(whole, 1), cell, 8));
        // Pairs (value, rise) of lanes 0 ... 7 and 8 ... 15.
        const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
        const __m512 value = _mm512_permutex2var_ps(low, even, high);
        const __m512 rise = _mm512_permutex2var_ps(low, odd, high);
        return {_mm512_add_ps(value, _mm512_mul_ps(rise, fraction))};
    }
    friend Lanes operator+(const Lanes& a, const Lanes& b) { return {_mm512_add_ps(a.lane, b.lane)}; }
    friend Lanes operator-(const Lanes& a, const Lanes& b) { return {_mm512_sub_ps(a.lane, b.lane)}; }
    friend Lanes operator*(const Lanes& a, const Lanes& b) { return {_mm512_mul_ps(a.lane, b.lane)}; }
    friend Lanes operator/(const Lanes& a, const Lanes& b) { return {_mm512_div_ps(a.lane, b.lane)}; }
};

} // namespace

#include "dose/kernels/loops.hpp"

namespace brimstone::dose {
extern const Kernels avx512_kernels;
const Kernels avx512_kernels = kernels_named("avx512");
} // namespace brimstone::dose
