// Sixteen floats at a time in plain C++. The three vector headers do the same arithmetic in the same order, so
// every instruction set gives the same bits; none fuses a multiplication with an addition.
#pragma once

#include "problem.hpp"

namespace sbs {
namespace {

struct F16 {
  float x[kLanes];
};

inline F16 load(const float* p) {
  F16 r;
  for (int k = 0; k < kLanes; ++k) r.x[k] = p[k];
  return r;
}
inline void store(float* p, F16 a) {
  for (int k = 0; k < kLanes; ++k) p[k] = a.x[k];
}
inline F16 all(float v) {
  F16 r;
  for (int k = 0; k < kLanes; ++k) r.x[k] = v;
  return r;
}
inline F16 operator+(F16 a, F16 b) {
  for (int k = 0; k < kLanes; ++k) a.x[k] += b.x[k];
  return a;
}
inline F16 operator*(F16 a, F16 b) {
  for (int k = 0; k < kLanes; ++k) a.x[k] *= b.x[k];
  return a;
}
inline F16 operator/(F16 a, F16 b) {
  for (int k = 0; k < kLanes; ++k) a.x[k] /= b.x[k];
  return a;
}
// value where a > limit, else 0
inline F16 where_greater(F16 a, F16 limit, F16 value) {
  for (int k = 0; k < kLanes; ++k) value.x[k] = a.x[k] > limit.x[k] ? value.x[k] : 0.0F;
  return value;
}
inline bool any_greater(F16 a, F16 limit) {
  int found = 0;
  for (int k = 0; k < kLanes; ++k) found |= a.x[k] > limit.x[k] ? 1 : 0;
  return found != 0;
}
// Sum of one vector: lanes (l, l + 8), then (l, l + 4), (l, l + 2), (l, l + 1).
inline float sum(F16 a) {
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int k = 0; k < half; ++k) a.x[k] += a.x[k + half];
  return a.x[0];
}
// Lane p of the result is sum(a[p]).
inline F16 sums(const F16* a) {
  F16 r;
  for (int p = 0; p < kLanes; ++p) r.x[p] = sum(a[p]);
  return r;
}
// How many of 16 ascending values are <= u.
inline int count_not_above(const float* values, float u) {
  int count = 0;
  for (int k = 0; k < kLanes; ++k) count += values[k] <= u ? 1 : 0;
  return count;
}

// 64 numbers in [0, 1): Philox4x32-10, key = seed, counter = (position, 16 * block + lane); word w of a lane is
// spike 16 w + lane of the block.
inline void draw(std::uint64_t seed, std::uint64_t position, std::uint32_t block, float* out) {
  for (std::uint32_t lane = 0; lane < kLanes; ++lane) {
    std::uint32_t c[4] = {static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(position >> 32),
                          block * kLanes + lane, 0};
    std::uint32_t k0 = static_cast<std::uint32_t>(seed), k1 = static_cast<std::uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9U, k1 += 0xBB67AE85U) {
      const std::uint64_t p0 = std::uint64_t{0xD2511F53U} * c[0], p1 = std::uint64_t{0xCD9E8D57U} * c[2];
      const std::uint32_t high0 = static_cast<std::uint32_t>(p0 >> 32), high1 = static_cast<std::uint32_t>(p1 >> 32);
      const std::uint32_t next0 = high1 ^ c[1] ^ k0, next2 = high0 ^ c[3] ^ k1;
      c[1] = static_cast<std::uint32_t>(p1);
      c[3] = static_cast<std::uint32_t>(p0);
      c[0] = next0;
      c[2] = next2;
    }
    for (int w = 0; w < 4; ++w) out[16 * w + static_cast<int>(lane)] = static_cast<float>(c[w] >> 8) * 0x1p-24F;
  }
}

}  // namespace
}  // namespace sbs
