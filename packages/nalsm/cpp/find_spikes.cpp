#include "find_spikes.hpp"

#include <bit>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace nalsm::CORE_ISA {
namespace {

// The form of every instruction set for what is left at the end: one neuron at a time, without a branch.
inline std::int32_t one_by_one(float* __restrict potential, float* __restrict refractory, std::int32_t begin,
                               std::int32_t end, float threshold, float pause, std::int32_t first,
                               std::int32_t* __restrict spikes) {
  std::int32_t found = 0;
  for (std::int32_t i = begin; i < end; ++i) {
    const bool fires = potential[i] >= threshold && refractory[i] <= 0.f;
    refractory[i] = fires ? pause : refractory[i] - 1.f;
    potential[i] = fires ? 0.f : potential[i];
    spikes[found] = first + i;
    found += fires;
  }
  return found;
}

}  // namespace

#if defined(__AVX512F__)
// Sixteen neurons at a time; the numbers of those that fire are pushed together in a register, so that nothing has to
// be guessed about which they are.
std::int32_t find_spikes(float* __restrict potential, float* __restrict refractory, std::int32_t count, float threshold,
                         float pause, std::int32_t first, std::int32_t* __restrict spikes) {
  const __m512 zero = _mm512_setzero_ps(), one = _mm512_set1_ps(1.f), level = _mm512_set1_ps(threshold),
               rest = _mm512_set1_ps(pause);
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  std::int32_t found = 0;
  for (std::int32_t i = 0; i < count; i += 16) {
    const auto in = static_cast<__mmask16>(count - i >= 16 ? 0xFFFFu : (1u << (count - i)) - 1u);
    const __m512 v = _mm512_maskz_loadu_ps(in, potential + i), wait = _mm512_maskz_loadu_ps(in, refractory + i);
    const __mmask16 high = _mm512_mask_cmp_ps_mask(in, v, level, _CMP_GE_OQ);
    const __mmask16 fires = _mm512_mask_cmp_ps_mask(high, wait, zero, _CMP_LE_OQ);
    const __m512 less = _mm512_maskz_sub_ps(in, wait, one);
    _mm512_mask_storeu_ps(refractory + i, in, _mm512_mask_mov_ps(less, fires, rest));
    _mm512_mask_storeu_ps(potential + i, in, _mm512_mask_mov_ps(v, fires, zero));
    const __m512i number = _mm512_maskz_add_epi32(in, _mm512_set1_epi32(first + i), lane);
    _mm512_storeu_si512(spikes + found, _mm512_maskz_compress_epi32(fires, number));
    found += __builtin_popcount(fires);
  }
  return found;
}
#elif defined(__AVX2__)
// Eight neurons at a time, and thirty-two before their spikes are listed: few of them fire, so the loop over those that
// do is entered once for many.
std::int32_t find_spikes(float* __restrict potential, float* __restrict refractory, std::int32_t count, float threshold,
                         float pause, std::int32_t first, std::int32_t* __restrict spikes) {
  const __m256 zero = _mm256_setzero_ps(), one = _mm256_set1_ps(1.f), level = _mm256_set1_ps(threshold),
               rest = _mm256_set1_ps(pause);
  std::int32_t found = 0, i = 0;
  for (; i + 32 <= count; i += 32) {
    unsigned fired = 0;
    for (int part = 0; part < 4; ++part) {
      float *v = potential + i + 8 * part, *wait = refractory + i + 8 * part;
      const __m256 now = _mm256_loadu_ps(v), left = _mm256_loadu_ps(wait);
      const __m256 fires = _mm256_and_ps(_mm256_cmp_ps(now, level, _CMP_GE_OQ), _mm256_cmp_ps(left, zero, _CMP_LE_OQ));
      _mm256_storeu_ps(wait, _mm256_blendv_ps(_mm256_sub_ps(left, one), rest, fires));
      _mm256_storeu_ps(v, _mm256_andnot_ps(fires, now));
      fired |= static_cast<unsigned>(_mm256_movemask_ps(fires)) << (8 * part);
    }
    for (; fired; fired &= fired - 1) spikes[found++] = first + i + __builtin_ctz(fired);
  }
  return found + one_by_one(potential, refractory, i, count, threshold, pause, first, spikes + found);
}
#else
// Sixty-four neurons at a time: marks in a loop that a compiler turns into vectors, then the spikes of each eight.
std::int32_t find_spikes(float* __restrict potential, float* __restrict refractory, std::int32_t count, float threshold,
                         float pause, std::int32_t first, std::int32_t* __restrict spikes) {
  static_assert(std::endian::native == std::endian::little, "marks are read as little-endian words");
  constexpr std::int32_t block = 64;
  std::int32_t found = 0, i = 0;
  for (; i + block <= count; i += block) {
    std::uint8_t mark[block];
    for (std::int32_t k = 0; k < block; ++k) {
      const bool fires = potential[i + k] >= threshold && refractory[i + k] <= 0.f;
      mark[k] = fires;
      refractory[i + k] = fires ? pause : refractory[i + k] - 1.f;
      potential[i + k] = fires ? 0.f : potential[i + k];
    }
    for (std::int32_t k = 0; k < block; k += 8) {
      std::uint64_t word;
      __builtin_memcpy(&word, mark + k, sizeof word);
      for (; word; word &= word - 1) spikes[found++] = first + i + k + __builtin_ctzll(word) / 8;
    }
  }
  return found + one_by_one(potential, refractory, i, count, threshold, pause, first, spikes + found);
}
#endif

}  // namespace nalsm::CORE_ISA
