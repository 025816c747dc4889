#include <cstdint>

#include <immintrin.h>

namespace {

inline float sum_of_eight(__m256 half) {
    const __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    const __m128 pair = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)));
}

struct Lanes {
    __m256 low;
    __m256 high;

    static Lanes broadcast(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
    static Lanes from_values(const std::uint16_t* value) {
        const auto* const eight = reinterpret_cast<const __m128i*>(value);
        return {_mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(_mm_load_si128(eight))),
                _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(_mm_load_si128(eight + 1)))};
    }
    static Lanes load(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
    void store(float* to) const {
        _mm256_storeu_ps(to, low);
        _mm256_storeu_ps(to + 8, high);
    }
    friend Lanes operator+(const Lanes& a, const Lanes& b) {
        return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
    }
    friend Lanes operator*(const Lanes& a, const Lanes& b) {
        return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
    }
    float sum() const { return sum_of_eight(_mm256_add_ps(low, high)); }
};

} // namespace

#include "brimstone/support/kernels/loops.hpp"

namespace brimstone {
extern const Kernels avx2_kernels;
constexpr Kernels avx2_kernels = kernels_named("avx2");
} // namespace brimstone
