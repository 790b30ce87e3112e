// The kernels of an instruction set.
#pragma once

#include <stdexcept>
#include <string>

#include "common/isa.hpp"
#include "problem.hpp"

namespace dalton {

template <class T>
Kernels<T> kernels_of(const std::string& isa) {
  if (!core::has_isa(isa)) throw std::invalid_argument("this processor or build has no instruction set " + isa);
#if defined(CORE_X86)
  if (isa == "avx512") return avx512::kernels<T>();
  if (isa == "avx2") return avx2::kernels<T>();
#endif
  return portable::kernels<T>();
}

}  // namespace dalton
