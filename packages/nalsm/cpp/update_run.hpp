// The weight rule on one run of synapses that end at a neuron which fired: excitatory, inhibitory or input ones.
#pragma once
#include <cstdint>

#include "loops.hpp"

namespace nalsm::CORE_ISA {

// Loops::update_run: sixteen synapses at a time with AVX-512, else eight; the same bits in all forms.
float update_run(float* weights, const std::int32_t* pre, std::int32_t count, const float* term, const float* residue,
                 float fresh, Segment segment);

}  // namespace nalsm::CORE_ISA
