// The weight rule on one run of synapses that end at a neuron which fired: excitatory, inhibitory or input ones.
#pragma once
#include <cstdint>

namespace nalsm {

struct Segment {
  float gate, both, low, high;  // factor of the row term, extra term where both neurons fired, weight bounds
};

// For every synapse k of the run, from presynaptic neuron j = pre[k]:
//     dw = gate * term[j] (+ both where j fired as well: residue[j] == fresh),  w <- clip(w + dw, low, high).
// Returns sum of dw * residue[j], added in eight lanes k mod 8 and then pairwise: the same bits in both forms.
float update_run_portable(float* weights, const std::int32_t* pre, std::int32_t count, const float* term,
                          const float* residue, float fresh, Segment segment);

// The fastest form that this processor has.
float update_run(float* weights, const std::int32_t* pre, std::int32_t count, const float* term, const float* residue,
                 float fresh, Segment segment);

}  // namespace nalsm
