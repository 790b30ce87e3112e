// Vectors of one instruction set, 64 bytes with AVX-512, else 8 values: one register or several. CORE_ISA names the
// namespace.
#pragma once

#include <cstdint>
#include <cstring>

#include "problem.hpp"
#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace dalton::CORE_ISA {

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX2__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif

template <class T>
struct Register;

template <>
struct Register<float> {
  typedef float type __attribute__((vector_size(kBytes)));
  typedef std::int32_t Bits __attribute__((vector_size(kBytes)));
};

template <>
struct Register<double> {
  typedef double type __attribute__((vector_size(kBytes)));
  typedef std::int64_t Bits __attribute__((vector_size(kBytes)));
};

template <class T>
constexpr int kValues = kBytes / static_cast<int>(sizeof(T));  // in one register

// Registers side by side that are used as one: a compiler takes a vector wider than its registers through memory.
template <class T, int Parts>
struct Registers {
  using R = typename Register<T>::type;
  R part[Parts];

  // f(register of each argument), part by part.
  template <class F, class... More>
  static Registers map(const F& f, const More&... more) {
    Registers result;
    for (int p = 0; p < Parts; ++p) result.part[p] = f(more.part[p]...);
    return result;
  }
  friend Registers operator+(const Registers& a, const Registers& b) {
    return map([](R x, R y) { return x + y; }, a, b);
  }
  friend Registers operator-(const Registers& a, const Registers& b) {
    return map([](R x, R y) { return x - y; }, a, b);
  }
  friend Registers operator*(const Registers& a, const Registers& b) {
    return map([](R x, R y) { return x * y; }, a, b);
  }
  friend Registers operator/(const Registers& a, const Registers& b) {
    return map([](R x, R y) { return x / y; }, a, b);
  }
  Registers operator-() const {
    return map([](R x) { return -x; }, *this);
  }
  Registers& operator+=(const Registers& b) { return *this = *this + b; }
};

template <class T>
struct Vector {
  static constexpr int kParts = kValues<T> < 8 ? 8 / kValues<T> : 1;
  using type = Registers<T, kParts>;
  using Mask = std::uint8_t;
};

#if defined(__AVX512F__) || defined(__AVX2__)
template <>
struct Vector<float> {
  static constexpr int kParts = 1;
  using type = Register<float>::type;
#if defined(__AVX512F__)
  using Mask = std::uint16_t;
#else
  using Mask = std::uint8_t;
#endif
};
#endif
#if defined(__AVX512F__)
template <>
struct Vector<double> {
  static constexpr int kParts = 1;
  using type = Register<double>::type;
  using Mask = std::uint8_t;
};
#endif

template <class T>
using V = typename Vector<T>::type;
template <class T>
using Mask = typename Vector<T>::Mask;
template <class T>
constexpr Index kLanes = static_cast<Index>(sizeof(V<T>) / sizeof(T));

// f(register of each argument) for vectors of one register and of several.
template <class T, class F, class... More>
inline V<T> each(const F& f, const More&... more) {
  if constexpr (Vector<T>::kParts == 1)
    return f(more...);
  else
    return V<T>::map(f, more...);
}

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
  // x - 0 is x, for -0 too, so that nothing is computed; x + 0 would be an addition.
  if constexpr (Vector<T>::kParts == 1) {
    return x - V<T>{};
  } else {
    V<T> v;
    for (auto& part : v.part) part = x - typename Register<T>::type{};
    return v;
  }
}

// a > b ? x : y
template <class T>
inline V<T> where_greater(const V<T>& a, const V<T>& b, const V<T>& x, const V<T>& y) {
  using R = typename Register<T>::type;
  return each<T>([](R i, R j, R k, R l) { return i > j ? k : l; }, a, b, x, y);
}

// a == b ? x : y
template <class T>
inline V<T> where_equal(const V<T>& a, const V<T>& b, const V<T>& x, const V<T>& y) {
  using R = typename Register<T>::type;
  return each<T>([](R i, R j, R k, R l) { return i == j ? k : l; }, a, b, x, y);
}

// One bit per value of a register: a > b.
template <class T>
inline unsigned greater_bits(typename Register<T>::type a, typename Register<T>::type b) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ);
  else
    return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_GT_OQ);
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4)
    return static_cast<unsigned>(_mm256_movemask_ps((__m256)(a > b)));
  else
    return static_cast<unsigned>(_mm256_movemask_pd((__m256d)(a > b)));
#elif defined(__SSE2__)
  if constexpr (sizeof(T) == 4)
    return static_cast<unsigned>(_mm_movemask_ps((__m128)(a > b)));
  else
    return static_cast<unsigned>(_mm_movemask_pd((__m128d)(a > b)));
#else
  const typename Register<T>::Bits above = a > b;
  unsigned bits = 0;
#if defined(__aarch64__)
  if constexpr (sizeof(T) == 4) {
    const typename Register<T>::Bits lane = {1, 2, 4, 8};
    return vaddvq_u32((uint32x4_t)(above & lane));
  }
#endif
  for (int i = 0; i < kValues<T>; ++i) bits |= static_cast<unsigned>(above[i] & 1) << i;
  return bits;
#endif
}

// One bit per lane: a > b.
template <class T>
inline Mask<T> greater(const V<T>& a, const V<T>& b) {
  if constexpr (Vector<T>::kParts == 1) {
    return static_cast<Mask<T>>(greater_bits<T>(a, b));
  } else {
    unsigned bits = 0;
    for (int p = 0; p < Vector<T>::kParts; ++p) bits |= greater_bits<T>(a.part[p], b.part[p]) << (p * kValues<T>);
    return static_cast<Mask<T>>(bits);
  }
}

// x where the value's bit is set, else 0; bits beyond the register's count for nothing.
template <class T>
inline typename Register<T>::type select_bits(unsigned bits, typename Register<T>::type x) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return (typename Register<T>::type)_mm512_maskz_mov_ps(static_cast<__mmask16>(bits), (__m512)x);
  else
    return (typename Register<T>::type)_mm512_maskz_mov_pd(static_cast<__mmask8>(bits), (__m512d)x);
#else
  using Bits = typename Register<T>::Bits;
  Bits lane{};
  for (int i = 0; i < kValues<T>; ++i) lane[i] = 1 << i;
  const Bits set = (lane & (Bits{} + static_cast<int>(bits))) != 0;
  return (typename Register<T>::type)(set & (Bits)x);
#endif
}

// x where the lane's bit is set, else 0.
template <class T>
inline V<T> select(Mask<T> bits, const V<T>& x) {
  if constexpr (Vector<T>::kParts == 1) {
    return select_bits<T>(bits, x);
  } else {
    V<T> result;
    for (int p = 0; p < Vector<T>::kParts; ++p)
      result.part[p] = select_bits<T>(static_cast<unsigned>(bits) >> (p * kValues<T>), x.part[p]);
    return result;
  }
}

// a b + c, rounded once with AVX-512, and in float with AVX2.
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

// Whole numbers of 0 to 255 as bytes.
template <class T>
struct Bytes {
  typedef std::uint8_t type __attribute__((vector_size(kValues<T>)));
};

template <class T>
inline void store_bytes(std::uint8_t* to, const V<T>& v) {
  typename Register<T>::type part[Vector<T>::kParts];
  std::memcpy(part, &v, sizeof v);
  for (int p = 0; p < Vector<T>::kParts; ++p) {
    const auto bytes = __builtin_convertvector(part[p], typename Bytes<T>::type);
    std::memcpy(to + p * kValues<T>, &bytes, sizeof bytes);
  }
}

template <class T>
inline V<T> load_bytes(const std::uint8_t* from) {
  typename Register<T>::type part[Vector<T>::kParts];
  for (int p = 0; p < Vector<T>::kParts; ++p) {
    typename Bytes<T>::type bytes;
    std::memcpy(&bytes, from + p * kValues<T>, sizeof bytes);
    part[p] = __builtin_convertvector(bytes, typename Register<T>::type);
  }
  V<T> v;
  std::memcpy(&v, part, sizeof v);
  return v;
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
