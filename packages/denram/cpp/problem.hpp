// What one pass works on: sizes and borrowed arrays. Plain data, shared by all compiled variants of the kernels.
#pragma once
#include <cstddef>
#include <cstdint>

namespace denram {

struct Problem {
  std::int64_t n_samples, n_in, n_out, n_delays;
  std::int64_t steps_in;             // time steps of input
  std::int64_t steps;                // time steps in all
  std::int64_t bias_steps;           // the bias current flows in the steps before this one
  std::int64_t n_spikes;             // entries of spike_steps
  float leak;                        // membrane decay per step
  const std::uint16_t* spike_steps;  // time step of each spike
  const std::int64_t* starts;        // (n_samples, n_in + 1): where the spikes of a channel start in spike_steps
  const float* weights;              // (n_out, n_in * n_delays + 1), bias last
  const std::int32_t* lags;          // (n_in, n_out, n_delays)
};

// Last rise of a membrane to its maximum: the score's gradient is leak^(peak - s) for steps s in [first, peak].
struct Window {
  std::int32_t first;
  std::int32_t peak;
  std::int32_t general;  // 1: equal maxima or a potential at exactly zero; the gradient needs the full recursion
};

}  // namespace denram
