// Vectors of one instruction set: 64 bytes, or 32 for float without AVX-512. CORE_ISA names the namespace.
#pragma once

#include <cstdint>
#include <cstring>

#include "problem.hpp"
#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

namespace dalton::CORE_ISA {

template <class T>
struct Vector;

template <>
struct Vector<float> {
#if defined(__AVX512F__)
  typedef float type __attribute__((vector_size(64)));
  using Mask = std::uint16_t;
#else
  typedef float type __attribute__((vector_size(32)));
  using Mask = std::uint8_t;
#endif
};

template <>
struct Vector<double> {
  typedef double type __attribute__((vector_size(64)));
  using Mask = std::uint8_t;
};

template <class T>
using V = typename Vector<T>::type;
template <class T>
using Mask = typename Vector<T>::Mask;
template <class T>
constexpr Index kLanes = static_cast<Index>(sizeof(V<T>) / sizeof(T));

template <class T>
inline V<T> load(const T* p) {
  V<T> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <class T>
inline void store(T* p, const V<T>& v) {
  std::memcpy(p, &v, sizeof v);
}

template <class T>
inline V<T> broadcast(T x) {
  return V<T>{} + x;
}

// One bit per lane: a > b.
template <class T>
inline Mask<T> greater(const V<T>& a, const V<T>& b) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return static_cast<Mask<T>>(_mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ));
  else
    return static_cast<Mask<T>>(_mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_GT_OQ));
#else
#if defined(__AVX2__)
  if constexpr (sizeof(T) == 4) return static_cast<Mask<T>>(_mm256_movemask_ps((__m256)(a > b)));
#endif
  unsigned bits = 0;
  for (Index i = 0; i < kLanes<T>; ++i) bits |= static_cast<unsigned>(a[i] > b[i]) << i;
  return static_cast<Mask<T>>(bits);
#endif
}

// x where the lane's bit is set, else 0.
template <class T>
inline V<T> select(Mask<T> bits, const V<T>& x) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return (V<T>)_mm512_maskz_mov_ps(bits, (__m512)x);
  else
    return (V<T>)_mm512_maskz_mov_pd(bits, (__m512d)x);
#else
  V<T> result = x;
  for (Index i = 0; i < kLanes<T>; ++i)
    if (!(bits >> i & 1)) result[i] = 0;
  return result;
#endif
}

template <class T>
inline V<T> multiply_add(const V<T>& a, const V<T>& b, const V<T>& c) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return (V<T>)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
  else
    return (V<T>)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#else
#if defined(__FMA__)
  if constexpr (sizeof(T) == 4) return (V<T>)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#endif
  return a * b + c;
#endif
}

template <class T>
inline Mask<T> load_mask(const Word* words, Index unit) {
  Mask<T> m;
  std::memcpy(&m, reinterpret_cast<const char*>(words) + unit / 8, sizeof m);
  return m;
}

template <class T>
inline void store_mask(Word* words, Index unit, Mask<T> m) {
  std::memcpy(reinterpret_cast<char*>(words) + unit / 8, &m, sizeof m);
}

}  // namespace dalton::CORE_ISA
