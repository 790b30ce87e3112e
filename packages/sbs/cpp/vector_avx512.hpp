// Sixteen floats as one AVX-512 register; see vector_128.hpp for what each function means.
#pragma once

#include <immintrin.h>

#include "problem.hpp"

namespace sbs {
namespace {

struct F16 {
  __m512 v;
};

inline F16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void store(float* p, F16 a) { _mm512_storeu_ps(p, a.v); }
inline F16 all(float v) { return {_mm512_set1_ps(v)}; }
inline F16 operator+(F16 a, F16 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline F16 operator*(F16 a, F16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline F16 operator/(F16 a, F16 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline F16 where_greater(F16 a, F16 limit, F16 value) {
  return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a.v, limit.v, _CMP_GT_OQ), value.v)};
}
inline bool any_greater(F16 a, F16 limit) { return _mm512_cmp_ps_mask(a.v, limit.v, _CMP_GT_OQ) != 0; }

inline F16 eights(F16 a, F16 b) {
  return {_mm512_add_ps(_mm512_shuffle_f32x4(a.v, b.v, 0x44), _mm512_shuffle_f32x4(a.v, b.v, 0xEE))};
}
inline F16 fours(F16 a, F16 b) {
  return {_mm512_add_ps(_mm512_shuffle_f32x4(a.v, b.v, 0x88), _mm512_shuffle_f32x4(a.v, b.v, 0xDD))};
}
inline F16 twos(F16 a, F16 b) {
  return {_mm512_add_ps(_mm512_shuffle_ps(a.v, b.v, 0x44), _mm512_shuffle_ps(a.v, b.v, 0xEE))};
}
inline F16 ones(F16 a, F16 b) {
  return {_mm512_add_ps(_mm512_shuffle_ps(a.v, b.v, 0x88), _mm512_shuffle_ps(a.v, b.v, 0xDD))};
}
// The four sums of a[q], a[q + 4], a[q + 8], a[q + 12], each as a quadruple.
inline F16 column(const F16* a, int q) { return fours(eights(a[q], a[q + 4]), eights(a[q + 8], a[q + 12])); }
inline F16 sums(const F16* a) { return ones(twos(column(a, 0), column(a, 1)), twos(column(a, 2), column(a, 3))); }
inline float sum(F16 a) {
  const F16 eight = eights(a, a), four = fours(eight, eight), two = twos(four, four);
  return _mm512_cvtss_f32(ones(two, two).v);
}
inline int count_not_above(const float* values, float u) {
  const __mmask16 found = _mm512_cmp_ps_mask(_mm512_loadu_ps(values), _mm512_set1_ps(u), _CMP_LE_OQ);
  return _mm_popcnt_u32(found);
}

// As in vector_avx2.hpp: counters in the low halves of 64-bit elements, high halves never matter.
inline void philox_round(__m512i c[4], __m512i k0, __m512i k1) {
  const __m512i m0 = _mm512_set1_epi64(0xD2511F53LL), m1 = _mm512_set1_epi64(0xCD9E8D57LL);
  const __m512i p0 = _mm512_mul_epu32(c[0], m0), p1 = _mm512_mul_epu32(c[2], m1);
  c[0] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p1, 32), c[1], k0, 0x96);
  c[2] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p0, 32), c[3], k1, 0x96);
  c[1] = p1;
  c[3] = p0;
}

inline void draw(std::uint64_t seed, std::uint64_t position, std::uint32_t block, float* out) {
  const __m512i low = _mm512_set1_epi64(static_cast<std::uint32_t>(position));
  const __m512i high = _mm512_set1_epi64(static_cast<std::uint32_t>(position >> 32));
  const __m512i counter = _mm512_add_epi64(_mm512_set1_epi64(static_cast<long long>(block) * kLanes),
                                           _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14));
  __m512i even[4] = {low, high, counter, _mm512_setzero_si512()};
  __m512i odd[4] = {low, high, _mm512_add_epi64(counter, _mm512_set1_epi64(1)), _mm512_setzero_si512()};
  std::uint32_t k0 = static_cast<std::uint32_t>(seed), k1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9U, k1 += 0xBB67AE85U) {
    const __m512i key0 = _mm512_set1_epi64(k0), key1 = _mm512_set1_epi64(k1);
    philox_round(even, key0, key1);
    philox_round(odd, key0, key1);
  }
  for (int w = 0; w < 4; ++w) {
    const __m512i words = _mm512_mask_blend_epi32(0xAAAA, even[w], _mm512_slli_epi64(odd[w], 32));
    const __m512 value = _mm512_cvtepi32_ps(_mm512_srli_epi32(words, 8));
    _mm512_storeu_ps(out + 16 * w, _mm512_mul_ps(value, _mm512_set1_ps(0x1p-24F)));
  }
}

}  // namespace
}  // namespace sbs
