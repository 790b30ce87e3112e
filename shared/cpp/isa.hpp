// Which instruction sets this processor and build have, and which one the kernels use. The source is
// shared/cpp/isa.hpp; every package with a core has a copy.
#pragma once

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

namespace core {

// The kernels are compiled for the oldest processors of an architecture, and for newer ones of x86-64 (core.cmake).
// "portable" is the first of these by any name; on ARM it uses NEON, which all of its processors have.
inline bool has_isa(const std::string& name) {
#if defined(CORE_X86)
  if (name == "avx512")
    return has_isa("avx2") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  if (name == "avx2")
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("popcnt") &&
           __builtin_cpu_supports("bmi");
#elif defined(__aarch64__)
  if (name == "neon") return true;
#endif
  return name == "portable";
}

// Best first.
inline std::vector<std::string> all_isa() {
#if defined(__aarch64__)
  return {"neon"};
#else
  std::vector<std::string> names;
  for (const char* name : {"avx512", "avx2", "portable"})
    if (has_isa(name)) names.emplace_back(name);
  return names;
#endif
}

// The best one, or the one that the environment variable REPROKIT_ISA names. Throws std::invalid_argument, with a
// sentence for the user, where it names another.
inline std::string isa() {
  const char* forced = std::getenv("REPROKIT_ISA");
  if (forced == nullptr || *forced == '\0') return all_isa().front();
  if (has_isa(forced)) return forced;
  std::string names;
  for (const std::string& name : all_isa()) names += (names.empty() ? "" : ", ") + name;
  throw std::invalid_argument("REPROKIT_ISA is '" + std::string(forced) + "'; this processor and build have " + names +
                              ": choose one of them or leave the variable out.");
}

}  // namespace core
