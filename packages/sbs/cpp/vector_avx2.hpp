// Sixteen floats as two AVX2 registers; see vector_128.hpp for what each function means.
#pragma once

#include <immintrin.h>

#include "problem.hpp"

namespace sbs {
namespace {

struct F16 {
  __m256 a, b;
};

inline F16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store(float* p, F16 v) {
  _mm256_storeu_ps(p, v.a);
  _mm256_storeu_ps(p + 8, v.b);
}
inline F16 all(float v) { return {_mm256_set1_ps(v), _mm256_set1_ps(v)}; }
inline F16 operator+(F16 x, F16 y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
inline F16 operator*(F16 x, F16 y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
inline F16 operator/(F16 x, F16 y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
inline F16 where_greater(F16 x, F16 limit, F16 value) {
  return {_mm256_and_ps(_mm256_cmp_ps(x.a, limit.a, _CMP_GT_OQ), value.a),
          _mm256_and_ps(_mm256_cmp_ps(x.b, limit.b, _CMP_GT_OQ), value.b)};
}
inline bool any_greater(F16 x, F16 limit) {
  const __m256 found = _mm256_or_ps(_mm256_cmp_ps(x.a, limit.a, _CMP_GT_OQ), _mm256_cmp_ps(x.b, limit.b, _CMP_GT_OQ));
  return _mm256_movemask_ps(found) != 0;
}
inline float sum(F16 v) {
  const __m256 eight = _mm256_add_ps(v.a, v.b);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
inline __m256 fours(F16 x, F16 y) {
  const __m256 p = _mm256_add_ps(x.a, x.b), q = _mm256_add_ps(y.a, y.b);
  return _mm256_add_ps(_mm256_permute2f128_ps(p, q, 0x20), _mm256_permute2f128_ps(p, q, 0x31));
}
inline __m256 twos(__m256 p, __m256 q) {
  return _mm256_add_ps(_mm256_shuffle_ps(p, q, 0x44), _mm256_shuffle_ps(p, q, 0xEE));
}
inline __m256 eight_sums(const F16* a) {
  const __m256 r = twos(fours(a[0], a[4]), fours(a[1], a[5])), s = twos(fours(a[2], a[6]), fours(a[3], a[7]));
  return _mm256_add_ps(_mm256_shuffle_ps(r, s, 0x88), _mm256_shuffle_ps(r, s, 0xDD));
}
inline F16 sums(const F16* a) { return {eight_sums(a), eight_sums(a + 8)}; }
inline int count_not_above(const float* values, float u) {
  const __m256 limit = _mm256_set1_ps(u);
  const int low = _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(values), limit, _CMP_LE_OQ));
  const int high = _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(values + 8), limit, _CMP_LE_OQ));
  return _mm_popcnt_u32(static_cast<unsigned>(low | high << 8));
}

// Counters of lanes base + 2 i (even) or base + 2 i + 1 (odd) sit in the low halves of 64-bit elements; what
// the high halves hold never matters.
inline void philox_rounds(__m256i c[4], std::uint64_t seed) {
  const __m256i m0 = _mm256_set1_epi64x(0xD2511F53LL), m1 = _mm256_set1_epi64x(0xCD9E8D57LL);
  std::uint32_t k0 = static_cast<std::uint32_t>(seed), k1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9U, k1 += 0xBB67AE85U) {
    const __m256i p0 = _mm256_mul_epu32(c[0], m0), p1 = _mm256_mul_epu32(c[2], m1);
    const __m256i x0 = _mm256_xor_si256(c[1], _mm256_set1_epi64x(k0)),
                  x1 = _mm256_xor_si256(c[3], _mm256_set1_epi64x(k1));
    c[0] = _mm256_xor_si256(_mm256_srli_epi64(p1, 32), x0);
    c[2] = _mm256_xor_si256(_mm256_srli_epi64(p0, 32), x1);
    c[1] = p1;
    c[3] = p0;
  }
}

inline void draw(std::uint64_t seed, std::uint64_t position, std::uint32_t block, float* out) {
  const __m256 unit = _mm256_set1_ps(0x1p-24F);
  for (int half = 0; half < 2; ++half) {
    const auto first = static_cast<long long>(block) * kLanes + 8 * half;
    const __m256i low = _mm256_set1_epi64x(static_cast<std::uint32_t>(position));
    const __m256i high = _mm256_set1_epi64x(static_cast<std::uint32_t>(position >> 32));
    const __m256i counter = _mm256_add_epi64(_mm256_set1_epi64x(first), _mm256_setr_epi64x(0, 2, 4, 6));
    __m256i even[4] = {low, high, counter, _mm256_setzero_si256()};
    __m256i odd[4] = {low, high, _mm256_add_epi64(counter, _mm256_set1_epi64x(1)), _mm256_setzero_si256()};
    philox_rounds(even, seed);
    philox_rounds(odd, seed);
    for (int w = 0; w < 4; ++w) {
      const __m256i words = _mm256_blend_epi32(even[w], _mm256_slli_epi64(odd[w], 32), 0xAA);
      const __m256 value = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_srli_epi32(words, 8)), unit);
      _mm256_storeu_ps(out + 16 * w + 8 * half, value);
    }
  }
}

}  // namespace
}  // namespace sbs
