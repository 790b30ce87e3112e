// Which instruction sets this processor has, and their kernels.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "problem.hpp"

namespace dalton {

inline bool has_isa(const std::string& name) {
#if defined(DALTON_X86)
  if (name == "avx512")
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  if (name == "avx2")
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("popcnt") &&
           __builtin_cpu_supports("bmi");
#endif
  return name == "portable";
}

// Best first; "portable" is always there.
inline std::vector<std::string> all_isa() {
  std::vector<std::string> names;
  for (const char* name : {"avx512", "avx2", "portable"})
    if (has_isa(name)) names.emplace_back(name);
  return names;
}

template <class T>
Kernels<T> kernels_of(const std::string& isa) {
  if (!has_isa(isa)) throw std::invalid_argument("this processor or build has no instruction set " + isa);
#if defined(DALTON_X86)
  if (isa == "avx512") return avx512::kernels<T>();
  if (isa == "avx2") return avx2::kernels<T>();
#endif
  return portable::kernels<T>();
}

}  // namespace dalton
