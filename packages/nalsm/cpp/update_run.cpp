#include "update_run.hpp"

#include <algorithm>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace nalsm::CORE_ISA {
namespace {

constexpr int lanes = 8;

float add_pairwise(float* sums) {
  for (int width = lanes / 2; width > 0; width /= 2)
    for (int l = 0; l < width; ++l) sums[l] += sums[l + width];
  return sums[0];
}

#if defined(__AVX512F__)
// Sixteen synapses at a time; those beyond the end of the run are masked and count as 0. Masked forms throughout:
// GCC's headers build the others on undefined registers, and warn about it.
inline float by_sixteen(float* __restrict weights, const std::int32_t* __restrict pre, std::int32_t count,
                        const float* __restrict term, const float* __restrict residue, float fresh, Segment segment) {
  const __m512 zero = _mm512_setzero_ps(), gate = _mm512_set1_ps(segment.gate), both = _mm512_set1_ps(segment.both),
               low = _mm512_set1_ps(segment.low), high = _mm512_set1_ps(segment.high), now = _mm512_set1_ps(fresh);
  __m256 sums = _mm256_setzero_ps();
  for (std::int32_t k = 0; k < count; k += 16) {
    const auto m = static_cast<__mmask16>(count - k >= 16 ? 0xFFFFu : (1u << (count - k)) - 1u);
    const __m512i j = _mm512_maskz_loadu_epi32(m, pre + k);
    const __m512 r = _mm512_mask_i32gather_ps(zero, m, j, residue, 4);
    const __m512 x = _mm512_mask_i32gather_ps(zero, m, j, term, 4);
    const __m512 before = _mm512_maskz_loadu_ps(m, weights + k);
    const __m512 extra = _mm512_maskz_mov_ps(_mm512_mask_cmp_ps_mask(m, r, now, _CMP_EQ_OQ), both);
    const __m512 change = _mm512_maskz_add_ps(m, _mm512_maskz_mul_ps(m, gate, x), extra);
    const __m512 raised = _mm512_maskz_max_ps(m, _mm512_maskz_add_ps(m, before, change), low);
    const __m512 after = _mm512_maskz_min_ps(m, raised, high);
    _mm512_mask_storeu_ps(weights + k, m, after);
    const __m512 added = _mm512_maskz_mul_ps(m, _mm512_maskz_sub_ps(m, after, before), r);
    sums = _mm256_add_ps(sums, _mm512_maskz_extractf32x8_ps(0xFF, added, 0));
    sums = _mm256_add_ps(sums, _mm512_maskz_extractf32x8_ps(0xFF, added, 1));
  }
  float each[lanes];
  _mm256_storeu_ps(each, sums);
  return add_pairwise(each);
}
#elif defined(__AVX2__)
// Eight synapses at a time, in the eight lanes of the sum; those beyond the end of the run are masked and count as 0.
// Written out, as GCC spreads the plain loop over eight steps of k, transposes them and spills.
inline float by_eight(float* __restrict weights, const std::int32_t* __restrict pre, std::int32_t count,
                      const float* __restrict term, const float* __restrict residue, float fresh, Segment segment) {
  const __m256 gate = _mm256_set1_ps(segment.gate), both = _mm256_set1_ps(segment.both),
               low = _mm256_set1_ps(segment.low), high = _mm256_set1_ps(segment.high), now = _mm256_set1_ps(fresh);
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const auto after_of = [&](__m256 before, __m256 x, __m256 r) {
    const __m256 extra = _mm256_and_ps(_mm256_cmp_ps(r, now, _CMP_EQ_OQ), both);
    const __m256 change = _mm256_add_ps(_mm256_mul_ps(gate, x), extra);
    return _mm256_min_ps(high, _mm256_max_ps(low, _mm256_add_ps(before, change)));
  };
  __m256 sums = _mm256_setzero_ps();
  std::int32_t k = 0;
  for (; k + lanes <= count; k += lanes) {
    const __m256i j = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(pre + k));
    const __m256 r = _mm256_i32gather_ps(residue, j, 4), x = _mm256_i32gather_ps(term, j, 4);
    const __m256 before = _mm256_loadu_ps(weights + k), after = after_of(before, x, r);
    _mm256_storeu_ps(weights + k, after);
    sums = _mm256_add_ps(sums, _mm256_mul_ps(_mm256_sub_ps(after, before), r));
  }
  if (k < count) {
    const __m256i inside = _mm256_cmpgt_epi32(_mm256_set1_epi32(count - k), lane);
    const __m256 mask = _mm256_castsi256_ps(inside), zero = _mm256_setzero_ps();
    const __m256i j = _mm256_maskload_epi32(pre + k, inside);
    const __m256 r = _mm256_mask_i32gather_ps(zero, residue, j, mask, 4);
    const __m256 x = _mm256_mask_i32gather_ps(zero, term, j, mask, 4);
    const __m256 before = _mm256_maskload_ps(weights + k, inside), after = after_of(before, x, r);
    _mm256_maskstore_ps(weights + k, inside, after);
    sums = _mm256_add_ps(sums, _mm256_and_ps(mask, _mm256_mul_ps(_mm256_sub_ps(after, before), r)));
  }
  float each[lanes];
  _mm256_storeu_ps(each, sums);
  return add_pairwise(each);
}
#else
inline float by_eight(float* __restrict weights, const std::int32_t* __restrict pre, std::int32_t count,
                      const float* __restrict term, const float* __restrict residue, float fresh, Segment segment) {
  float sums[lanes] = {};
  std::int32_t k = 0;
  for (; k + lanes <= count; k += lanes) {
    for (int l = 0; l < lanes; ++l) {
      const std::int32_t j = pre[k + l];
      const float r = residue[j];
      const float change = segment.gate * term[j] + (r == fresh ? segment.both : 0.f);
      const float before = weights[k + l];
      const float after = std::min(std::max(before + change, segment.low), segment.high);
      weights[k + l] = after;
      sums[l] += (after - before) * r;
    }
  }
  for (; k < count; ++k) {
    const std::int32_t j = pre[k];
    const float r = residue[j];
    const float change = segment.gate * term[j] + (r == fresh ? segment.both : 0.f);
    const float before = weights[k];
    const float after = std::min(std::max(before + change, segment.low), segment.high);
    weights[k] = after;
    sums[k % lanes] += (after - before) * r;
  }
  return add_pairwise(sums);
}
#endif

}  // namespace

float update_run(float* weights, const std::int32_t* pre, std::int32_t count, const float* term, const float* residue,
                 float fresh, Segment segment) {
#if defined(__AVX512F__)
  return by_sixteen(weights, pre, count, term, residue, fresh, segment);
#else
  return by_eight(weights, pre, count, term, residue, fresh, segment);
#endif
}

}  // namespace nalsm::CORE_ISA
