// Which neurons fire in a millisecond.
#pragma once
#include <cstdint>

#include "loops.hpp"

namespace nalsm::CORE_ISA {

// Loops::find_spikes; the same spikes in all forms.
std::int32_t find_spikes(float* potential, float* refractory, std::int32_t count, float threshold, float pause,
                         std::int32_t first, std::int32_t* spikes);

}  // namespace nalsm::CORE_ISA
