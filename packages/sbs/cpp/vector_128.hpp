// Sixteen floats as four registers of 128 bits, which every x86-64 and 64-bit ARM processor has; see
// vector_portable.hpp for what each function means.
#pragma once

#include "draw.hpp"
#include "problem.hpp"

namespace sbs {
namespace {

typedef float F4 __attribute__((vector_size(16)));
typedef float LooseF4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef std::int32_t I4 __attribute__((vector_size(16)));

struct F16 {
  F4 a, b, c, d;
};

inline F4 load4(const float* p) { return *reinterpret_cast<const LooseF4*>(p); }
inline void store4(float* p, F4 v) { *reinterpret_cast<LooseF4*>(p) = v; }

inline F16 load(const float* p) { return {load4(p), load4(p + 4), load4(p + 8), load4(p + 12)}; }
inline void store(float* p, F16 v) {
  store4(p, v.a);
  store4(p + 4, v.b);
  store4(p + 8, v.c);
  store4(p + 12, v.d);
}
inline F16 all(float v) {
  const F4 four = {v, v, v, v};
  return {four, four, four, four};
}
inline F16 operator+(F16 x, F16 y) { return {x.a + y.a, x.b + y.b, x.c + y.c, x.d + y.d}; }
inline F16 operator*(F16 x, F16 y) { return {x.a * y.a, x.b * y.b, x.c * y.c, x.d * y.d}; }
inline F16 operator/(F16 x, F16 y) { return {x.a / y.a, x.b / y.b, x.c / y.c, x.d / y.d}; }
// value where x > limit, else 0
inline F4 where_greater(F4 x, F4 limit, F4 value) { return (F4)((I4)(x > limit) & (I4)value); }
inline F16 where_greater(F16 x, F16 limit, F16 value) {
  return {where_greater(x.a, limit.a, value.a), where_greater(x.b, limit.b, value.b),
          where_greater(x.c, limit.c, value.c), where_greater(x.d, limit.d, value.d)};
}
inline int total(I4 v) { return (v[0] + v[2]) + (v[1] + v[3]); }
inline bool any_greater(F16 x, F16 limit) {
  return total((x.a > limit.a) | (x.b > limit.b) | (x.c > limit.c) | (x.d > limit.d)) != 0;
}
inline F4 fours(F16 v) { return (v.a + v.c) + (v.b + v.d); }
// Sum of one vector: lanes (l, l + 8), then (l, l + 4), (l, l + 2), (l, l + 1).
inline float sum(F16 v) {
  const F4 four = fours(v);
  return (four[0] + four[2]) + (four[1] + four[3]);
}
#if defined(__clang__)
inline F4 low_halves(F4 x, F4 y) { return __builtin_shufflevector(x, y, 0, 1, 4, 5); }
inline F4 high_halves(F4 x, F4 y) { return __builtin_shufflevector(x, y, 2, 3, 6, 7); }
inline F4 even(F4 x, F4 y) { return __builtin_shufflevector(x, y, 0, 2, 4, 6); }
inline F4 odd(F4 x, F4 y) { return __builtin_shufflevector(x, y, 1, 3, 5, 7); }
#else
inline F4 low_halves(F4 x, F4 y) { return __builtin_shuffle(x, y, I4{0, 1, 4, 5}); }
inline F4 high_halves(F4 x, F4 y) { return __builtin_shuffle(x, y, I4{2, 3, 6, 7}); }
inline F4 even(F4 x, F4 y) { return __builtin_shuffle(x, y, I4{0, 2, 4, 6}); }
inline F4 odd(F4 x, F4 y) { return __builtin_shuffle(x, y, I4{1, 3, 5, 7}); }
#endif
inline F4 twos(F4 x, F4 y) { return low_halves(x, y) + high_halves(x, y); }
inline F4 four_sums(const F16* v) {
  const F4 x = twos(fours(v[0]), fours(v[1])), y = twos(fours(v[2]), fours(v[3]));
  return even(x, y) + odd(x, y);
}
// Lane p of the result is sum(v[p]).
inline F16 sums(const F16* v) { return {four_sums(v), four_sums(v + 4), four_sums(v + 8), four_sums(v + 12)}; }
// How many of 16 ascending values are <= u.
inline int count_not_above(const float* values, float u) {
  const F16 v = load(values), limit = all(u);
  return -total((v.a <= limit.a) + (v.b <= limit.b) + (v.c <= limit.c) + (v.d <= limit.d));
}

}  // namespace
}  // namespace sbs
