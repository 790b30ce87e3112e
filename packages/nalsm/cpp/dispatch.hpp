// The loops of an instruction set.
#pragma once
#include <string>

#include "checks.hpp"
#include "common/isa.hpp"
#include "loops.hpp"

namespace nalsm {

inline const Loops& loops_of(const std::string& isa) {
  need(core::has_isa(isa), "this processor or build has no instruction set " + isa);
#if defined(CORE_X86)
  if (isa == "avx512") return avx512::loops;
  if (isa == "avx2") return avx2::loops;
#endif
  return portable::loops;
}

}  // namespace nalsm
