#include <cstdint>

#include <immintrin.h>

namespace {

struct Lanes {
    __m512 lane;

    static Lanes broadcast(float value) { return {_mm512_set1_ps(value)}; }
    static Lanes from_values(const std::uint16_t* value) {
        const __m256i sixteen = _mm256_load_si256(reinterpret_cast<const __m256i*>(value));
        return {_mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(sixteen))};
    }
    static Lanes load(const float* from) { return {_mm512_loadu_ps(from)}; }
    void store(float* to) const { _mm512_storeu_ps(to, lane); }
    friend Lanes operator+(const Lanes& a, const Lanes& b) { return {_mm512_add_ps(a.lane, b.lane)}; }
    friend Lanes operator*(const Lanes& a, const Lanes& b) { return {_mm512_mul_ps(a.lane, b.lane)}; }
    float sum() const {
        const __m256 upper = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(lane), 1));
        const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(lane), upper);
        const __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
        const __m128 pair = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
        return _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)));
    }
};

} // namespace

#include "brimstone/support/kernels/loops.hpp"

namespace brimstone {
extern const Kernels avx512_kernels;
constexpr Kernels avx512_kernels = kernels_named("avx512");
} // namespace brimstone
