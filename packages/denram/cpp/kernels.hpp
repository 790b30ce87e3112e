// The inner loops, compiled once per instruction set; passes.cpp picks a variant.
#pragma once
#include "problem.hpp"

namespace denram {

struct Kernels {
  const char* name;
  std::int64_t lanes;  // floats per vector: frequencies and samples are worked on in blocks of this size

  // Current of one sample by adding each spike's taps: out (steps, n_out), zeroed here.
  void (*scatter)(const Problem&, const float* taps, std::int64_t sample, float* out);

  // Spectra of the spikes of some channels: out (sample, channel, 2, lanes). `phases` is (time, 2, lanes).
  void (*spike_spectra)(const Problem&, const float* phases, const std::int32_t* channels, std::int64_t n_channels,
                        float* out);
  // Spectra of their delay kernels: out (n_out, channel, 2, lanes).
  void (*kernel_spectra)(const Problem&, const float* phases, const float* taps, const std::int32_t* channels,
                         std::int64_t n_channels, float* out);
  // currents (sample, n_out, 2, lanes) += spikes * kernels, complex, summed over channels.
  void (*multiply)(const float* spikes, const float* kernels, std::int64_t n_samples, std::int64_t n_out,
                   std::int64_t n_channels, float* currents);
  // Back to time: rows of spectra (block, row, 2, lanes) -> out (row, stride). `waves` is (frequency, 2, half).
  void (*invert)(const float* spectra, const float* waves, std::int64_t n_rows, std::int64_t row, std::int64_t n_blocks,
                 std::int64_t half, float* even, float* odd);

  // Leaky trace of one channel in one sample: out (steps + lanes) from decays leak^n (steps + lanes).
  void (*trace)(const Problem&, const float* decays, std::int64_t sample, std::int64_t channel, float* out);
  // gradient (n_out, n_delays) += scales[o] * trace[steps[o] - lag]; the trace is preceded by zeros.
  void (*look_up)(const float* trace, const std::int32_t* lags, std::int64_t n_out, std::int64_t n_delays,
                  const std::int32_t* steps, const float* scales, float* gradient);
};

// Those of one of core::all_isa().
namespace portable {
extern const Kernels kernels;
}
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}

}  // namespace denram
