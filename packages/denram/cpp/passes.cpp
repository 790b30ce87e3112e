// What the forward and the backward pass share.
#include "passes.hpp"

#include <algorithm>

namespace denram {

const Kernels& kernels() {
#if defined(__x86_64__) && defined(DENRAM_DISPATCH)
  static const Kernels& chosen = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                                         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw")
                                     ? kernels_avx512
                                 : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? kernels_avx2
                                                                                                   : kernels_baseline;
  return chosen;
#else
  return kernels_baseline;
#endif
}

std::vector<float> taps_of(const Problem& p) {
  std::vector<float> taps(size(p.n_in * p.n_out * p.n_delays));
  const std::int64_t columns = p.n_in * p.n_delays + 1;
  for (std::int64_t o = 0; o < p.n_out; ++o)
    for (std::int64_t c = 0; c < p.n_in; ++c)
      std::copy_n(p.weights + o * columns + c * p.n_delays, p.n_delays, taps.data() + (c * p.n_out + o) * p.n_delays);
  return taps;
}

float bias_of(const Problem& p, std::int64_t output) { return p.weights[(output + 1) * (p.n_in * p.n_delays + 1) - 1]; }

void exact_current(const Problem& p, const float* taps, std::int64_t sample, std::int64_t output, float* current) {
  std::fill_n(current, p.steps, 0.0F);
  const std::int64_t* starts = p.starts + sample * (p.n_in + 1);
  for (std::int64_t c = 0; c < p.n_in; ++c) {
    const std::int64_t first = (c * p.n_out + output) * p.n_delays;
    for (std::int64_t event = starts[c]; event < starts[c + 1]; ++event)
      for (std::int64_t tap = first; tap < first + p.n_delays; ++tap)
        current[p.spike_steps[event] + p.lags[tap]] += taps[tap];
  }
  for (std::int64_t s = 0; s < p.bias_steps; ++s) current[s] += bias_of(p, output);
}

}  // namespace denram
