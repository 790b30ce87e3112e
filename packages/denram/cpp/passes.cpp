// What the forward and the backward pass share.
#include "passes.hpp"

#include <algorithm>
#include <atomic>

#include "common/isa.hpp"

namespace denram {

namespace {

std::atomic<const Kernels*> in_use{nullptr};

}  // namespace

void use_kernels([[maybe_unused]] const std::string& isa) {
#if defined(CORE_X86)
  in_use = isa == "avx512" ? &avx512::kernels : isa == "avx2" ? &avx2::kernels : &portable::kernels;
#else
  in_use = &portable::kernels;
#endif
}

const Kernels& kernels() {
  const Kernels* chosen = in_use.load(std::memory_order_relaxed);
  if (chosen == nullptr) {
    use_kernels(core::isa());
    chosen = in_use;
  }
  return *chosen;
}

std::vector<float> taps_of(const Problem& p) {
  std::vector<float> taps(size(p.n_in * p.n_out * p.n_delays));
  const std::int64_t columns = p.n_in * p.n_delays + 1;
  for (std::int64_t o = 0; o < p.n_out; ++o)
    for (std::int64_t c = 0; c < p.n_in; ++c)
      std::copy_n(p.weights + o * columns + c * p.n_delays, p.n_delays, taps.data() + (c * p.n_out + o) * p.n_delays);
  return taps;
}

std::uint32_t longest_lag(const Problem& p) {
  std::uint32_t longest = 0;
  for (std::int64_t k = 0; k < p.n_in * p.n_out * p.n_delays; ++k)
    longest = std::max(longest, static_cast<std::uint32_t>(p.lags[k]));
  return longest;
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
