// What must hold before arrays from outside are walked: an index that is wrong would read or write foreign memory.
#pragma once
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>

namespace nalsm {

inline void need(bool condition, const std::string& what) {
  if (!condition) throw std::invalid_argument("nalsm kernel: " + what);
}

// Numbers of neurons, and synapse lists that lead between them, sorted by (post, pre) and each pair once.
inline void check_wiring(std::int64_t excitatory, std::int64_t inhibitory, std::int64_t inputs,
                         const std::int32_t* post, const std::int32_t* pre, std::int64_t count) {
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max() / 2;
  const std::int64_t liquid = excitatory + inhibitory, neurons = liquid + inputs;
  need(excitatory >= 0 && inhibitory >= 0 && inputs >= 0, "a number of neurons is negative");
  need(neurons <= most && count <= most, "there are too many neurons or synapses");
  for (std::int64_t k = 0; k < count; ++k) {
    need(post[k] >= 0 && post[k] < liquid, "a synapse ends at a neuron that is not in the liquid");
    need(pre[k] >= 0 && pre[k] < neurons, "a synapse begins at a neuron that does not exist");
    need(k == 0 || post[k] > post[k - 1] || (post[k] == post[k - 1] && pre[k] > pre[k - 1]),
         "synapses are not sorted by (post, pre)");
  }
}

// Offsets (presentation, duration + 1) into `events` channels; those that are used are inputs.
inline void check_events(const std::int64_t* first, std::int64_t presentations, std::int64_t duration,
                         const std::int32_t* channels, std::int64_t events, std::int64_t inputs) {
  for (std::int64_t k = 0; k < presentations; ++k, first += duration + 1) {
    for (std::int64_t t = 0; t <= duration; ++t)
      need(first[t] >= (t ? first[t - 1] : 0) && first[t] <= events, "offsets leave the events or decrease");
    for (std::int64_t e = first[0]; e < first[duration]; ++e)
      need(channels[e] >= 0 && channels[e] < inputs, "an event names an input that does not exist");
  }
}

}  // namespace nalsm
