// The loops of a millisecond, each over plain arrays: all neurons, or the synapses of one neuron that fired. They are
// compiled once for each instruction set; all give the same bits.
#pragma once
#include <cstddef>
#include <cstdint>

namespace nalsm {

struct Segment {
  float gate, both, low, high;  // factor of the row term, extra term where both neurons fired, weight bounds
};

constexpr std::size_t listed = 16;  // numbers that find_spikes writes at once

struct Loops {
  // Synapses that leave a neuron which fired, in a plastic liquid: current[i] += w * jump, then w <- clip(w + term[i])
  // and later[i] += dw * fresh. The term is 0 for neurons that fired too: update_run adds both terms there before it
  // clips.
  void (*update_column)(float* weights, const std::int32_t* synapse, const std::int32_t* post, std::int32_t count,
                        const float* term, float jump, float fresh, float low, float high, float* current,
                        float* later);

  // The same in a fixed liquid: current[post[k]] += weights[k] * jump.
  void (*deliver)(float* current, const float* weights, const std::int32_t* post, std::int32_t count, float jump);

  // Whole rows of the dense input table, one per input spike; a stretch of the currents stays in registers meanwhile.
  void (*add_rows)(float* current, const float* table, std::int32_t count, const std::int32_t* row, const float* jump,
                   std::size_t rows);

  // V <- V + I - V leak, and V <- V - V leak.
  void (*leak_and_add)(float* potential, const float* current, std::int32_t count, float leak);
  void (*fade)(float* potential, std::int32_t count, float leak);

  // Neurons at the threshold that may fire: lists their numbers, counted from `first`, and returns how many they are.
  // Their potential becomes 0, and `pause` ms without spikes follow. `spikes` has room for `listed` more than fire.
  std::int32_t (*find_spikes)(float* potential, float* refractory, std::int32_t count, float threshold, float pause,
                              std::int32_t first, std::int32_t* spikes);

  void (*scale)(float* values, std::int32_t count, float factor);

  // I <- (I + later) factor, later <- 0.
  void (*next_current)(float* current, float* later, std::int32_t count, float factor);

  // out = factor gate values.
  void (*multiply)(float* out, const float* gate, const float* values, std::int32_t count, float factor);

  // C <- C - C / tau.
  void (*lose_calcium)(float* calcium, std::int32_t count, float tau);

  // For every synapse k of the run, from presynaptic neuron j = pre[k]:
  //     dw = gate * term[j] (+ both where j fired as well: residue[j] == fresh),  w <- clip(w + dw, low, high).
  // Returns sum of dw * residue[j], added in eight lanes k mod 8 and then pairwise.
  float (*update_run)(float* weights, const std::int32_t* pre, std::int32_t count, const float* term,
                      const float* residue, float fresh, Segment segment);
};

// Those of one of core::all_isa().
namespace portable {
extern const Loops loops;
}
namespace avx2 {
extern const Loops loops;
}
namespace avx512 {
extern const Loops loops;
}

}  // namespace nalsm
