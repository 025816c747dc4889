#include <immintrin.h>

#include "dose/kernels/kernels.hpp"

namespace {

using brimstone::dose::KernelCell;

inline __m256 look_up_eight(const KernelCell* cell, __m256 at) {
    const __m256i whole = _mm256_cvttps_epi32(at);
    const __m256 fraction = _mm256_sub_ps(at, _mm256_cvtepi32_ps(whole));
    const auto* const pairs = reinterpret_cast<const double*>(cell);
    const __m256 low = _mm256_castpd_ps(_mm256_i32gather_pd(pairs, _mm256_castsi256_si128(whole), 8));
    const __m256 high = _mm256_castpd_ps(_mm256_i32gather_pd(pairs, _mm256_extracti128_si256(whole, 1), 8));
    // Pairs (value, rise) of lanes 0 1 2 3 and 4 5 6 7.
    const __m256 a = _mm256_permute2f128_ps(low, high, 0x20);
    const __m256 b = _mm256_permute2f128_ps(low, high, 0x31);
    const __m256 value = _mm256_shuffle_ps(a, b, 0x88);
    const __m256 rise = _mm256_shuffle_ps(a, b, 0xdd);
    return _mm256_add_ps(value, _mm256_mul_ps(rise, fraction));
}

struct Lanes {
    __m256 low;
    __m256 high;

    static Lanes broadcast(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
    static Lanes load(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
    void store(float* to) const {
        _mm256_storeu_ps(to, low);
        _mm256_storeu_ps(to + 8, high);
    }
    static Lanes least(const Lanes& a, const Lanes& b) {
        return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
    }
    static Lanes greatest(const Lanes& a, const Lanes& b) {
        return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
    }
    static Lanes look_up(const KernelCell* cell, const Lanes& at) {
        return {look_up_eight(cell, at.low), look_up_eight(cell, at.high)};
    }
    friend Lanes operator+(const Lanes& a, const Lanes& b) {
        return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
    }
    friend Lanes operator-(const Lanes& a, const Lanes& b) {
        return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
    }
    friend Lanes operator*(const Lanes& a, const Lanes& b) {
        return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
    }
    friend Lanes operator/(const Lanes& a, const Lanes& b) {
        return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
    }
};

} // namespace

#include "dose/kernels/loops.hpp"

namespace brimstone::dose {
extern const Kernels avx2_kernels;
const Kernels avx2_kernels = kernels_named("avx2");
} // namespace brimstone::dose
