// Compiled once for each instruction set. Nothing from the standard library is used here: an inline function compiled
// for a newer processor could replace the one all others call.
#include "kernels.hpp"

namespace denram::CORE_ISA {
namespace {

#if defined(__AVX512F__)
constexpr std::int64_t lanes = 16;
#elif defined(__AVX2__)
constexpr std::int64_t lanes = 8;
#else
constexpr std::int64_t lanes = 4;
#endif
typedef float Vector __attribute__((vector_size(lanes * sizeof(float))));
typedef float LooseVector __attribute__((vector_size(lanes * sizeof(float)), aligned(4), may_alias));

inline Vector load(const float* from) { return *reinterpret_cast<const LooseVector*>(from); }
inline void store(float* to, const Vector& value) { *reinterpret_cast<LooseVector*>(to) = value; }

void scatter(const Problem& p, const float* taps, std::int64_t sample, float* out) {
  const std::int64_t per_channel = p.n_out * p.n_delays;
  for (std::int64_t cell = 0; cell < p.steps * p.n_out; ++cell) out[cell] = 0;
  const std::int64_t* starts = p.starts + sample * (p.n_in + 1);
  for (std::int64_t channel = 0; channel < p.n_in; ++channel) {
    const float* weights = taps + channel * per_channel;
    const std::int32_t* lags = p.lags + channel * per_channel;
    for (std::int64_t event = starts[channel]; event < starts[channel + 1]; ++event) {
      float* row = out + std::int64_t{p.spike_steps[event]} * p.n_out;
      for (std::int64_t output = 0; output < p.n_out; ++output)
        for (std::int64_t tap = output * p.n_delays; tap < (output + 1) * p.n_delays; ++tap)
          row[std::int64_t{lags[tap]} * p.n_out + output] += weights[tap];
    }
  }
}

void spike_spectra(const Problem& p, const float* phases, const std::int32_t* channels, std::int64_t n_channels,
                   float* out) {
  for (std::int64_t sample = 0; sample < p.n_samples; ++sample) {
    const std::int64_t* starts = p.starts + sample * (p.n_in + 1);
    for (std::int64_t c = 0; c < n_channels; ++c, out += 2 * lanes) {
      Vector real = {}, imaginary = {};
      for (std::int64_t event = starts[channels[c]]; event < starts[channels[c] + 1]; ++event) {
        const float* phase = phases + std::int64_t{p.spike_steps[event]} * 2 * lanes;
        real += load(phase);
        imaginary += load(phase + lanes);
      }
      store(out, real);
      store(out + lanes, imaginary);
    }
  }
}

void kernel_spectra(const Problem& p, const float* phases, const float* taps, const std::int32_t* channels,
                    std::int64_t n_channels, float* out) {
  for (std::int64_t output = 0; output < p.n_out; ++output)
    for (std::int64_t c = 0; c < n_channels; ++c, out += 2 * lanes) {
      const std::int64_t first = (std::int64_t{channels[c]} * p.n_out + output) * p.n_delays;
      Vector real = {}, imaginary = {};
      for (std::int64_t tap = first; tap < first + p.n_delays; ++tap) {
        const float* phase = phases + std::int64_t{p.lags[tap]} * 2 * lanes;
        real += taps[tap] * load(phase);
        imaginary += taps[tap] * load(phase + lanes);
      }
      store(out, real);
      store(out + lanes, imaginary);
    }
}

// One register tile of the complex product: `Samples` x `Outputs` sums stay in registers over all channels.
template <int Samples, int Outputs>
void multiply_tile(const float* spikes, const float* kernels, std::int64_t n_out, std::int64_t n_channels,
                   float* currents) {
  const std::int64_t stride = n_channels * 2 * lanes;
  Vector real[Samples][Outputs], imaginary[Samples][Outputs];
  for (int s = 0; s < Samples; ++s)
    for (int o = 0; o < Outputs; ++o) {
      real[s][o] = load(currents + (s * n_out + o) * 2 * lanes);
      imaginary[s][o] = load(currents + (s * n_out + o) * 2 * lanes + lanes);
    }
  for (std::int64_t c = 0; c < n_channels; ++c, spikes += 2 * lanes, kernels += 2 * lanes) {
    Vector spike_real[Samples], spike_imaginary[Samples];
    for (int s = 0; s < Samples; ++s) {
      spike_real[s] = load(spikes + s * stride);
      spike_imaginary[s] = load(spikes + s * stride + lanes);
    }
    for (int o = 0; o < Outputs; ++o) {
      const Vector kernel_real = load(kernels + o * stride);
      const Vector kernel_imaginary = load(kernels + o * stride + lanes);
      for (int s = 0; s < Samples; ++s) {
        real[s][o] += spike_real[s] * kernel_real;
        imaginary[s][o] += spike_real[s] * kernel_imaginary;
        real[s][o] -= spike_imaginary[s] * kernel_imaginary;
        imaginary[s][o] += spike_imaginary[s] * kernel_real;
      }
    }
  }
  for (int s = 0; s < Samples; ++s)
    for (int o = 0; o < Outputs; ++o) {
      store(currents + (s * n_out + o) * 2 * lanes, real[s][o]);
      store(currents + (s * n_out + o) * 2 * lanes + lanes, imaginary[s][o]);
    }
}

template <int Samples>
void multiply_rows(const float* spikes, const float* kernels, std::int64_t n_out, std::int64_t n_channels,
                   float* currents) {
  constexpr int tile = lanes == 16 ? 5 : 2;
  const std::int64_t stride = n_channels * 2 * lanes;
  std::int64_t output = 0;
  for (; output + tile <= n_out; output += tile)
    multiply_tile<Samples, tile>(spikes, kernels + output * stride, n_out, n_channels, currents + output * 2 * lanes);
  for (; output < n_out; ++output)
    multiply_tile<Samples, 1>(spikes, kernels + output * stride, n_out, n_channels, currents + output * 2 * lanes);
}

void multiply(const float* spikes, const float* kernels, std::int64_t n_samples, std::int64_t n_out,
              std::int64_t n_channels, float* currents) {
  const std::int64_t stride = n_channels * 2 * lanes;
  std::int64_t sample = 0;
  for (; sample + 2 <= n_samples; sample += 2)
    multiply_rows<2>(spikes + sample * stride, kernels, n_out, n_channels, currents + sample * n_out * 2 * lanes);
  for (; sample < n_samples; ++sample)
    multiply_rows<1>(spikes + sample * stride, kernels, n_out, n_channels, currents + sample * n_out * 2 * lanes);
}

// Rows of a real inverse transform: even part sum_f re cos and odd part sum_f im sin over half a period; the value
// at step s is even + odd, at period - s even - odd.
template <int Rows>
void invert_rows(const float* spectra, const float* waves, std::int64_t n_rows, std::int64_t n_blocks,
                 std::int64_t half, float* even, float* odd) {
  constexpr int width = lanes == 16 ? 3 : 1;
  for (std::int64_t s = 0; s < half; s += width * lanes) {
    Vector cosine[Rows][width] = {}, sine[Rows][width] = {};
    for (std::int64_t f = 0; f < n_blocks * lanes; ++f) {
      const float* wave = waves + f * 2 * half + s;
      const float* value = spectra + (f / lanes) * n_rows * 2 * lanes + f % lanes;
      for (int r = 0; r < Rows; ++r)
        for (int v = 0; v < width; ++v) {
          cosine[r][v] += value[r * 2 * lanes] * load(wave + v * lanes);
          sine[r][v] += value[r * 2 * lanes + lanes] * load(wave + half + v * lanes);
        }
    }
    for (int r = 0; r < Rows; ++r)
      for (int v = 0; v < width; ++v) {
        store(even + r * half + s + v * lanes, cosine[r][v]);
        store(odd + r * half + s + v * lanes, sine[r][v]);
      }
  }
}

void invert(const float* spectra, const float* waves, std::int64_t n_rows, std::int64_t row, std::int64_t n_blocks,
            std::int64_t half, float* even, float* odd) {
  const float* from = spectra + row * 2 * lanes;
  if (n_rows - row >= 4)
    invert_rows<4>(from, waves, n_rows, n_blocks, half, even, odd);
  else
    for (std::int64_t r = 0; r < n_rows - row; ++r)
      invert_rows<1>(from + r * 2 * lanes, waves, n_rows, n_blocks, half, even + r * half, odd + r * half);
}

// Each stretch between spikes is written in whole vectors; what reaches too far is overwritten by the next one.
void trace(const Problem& p, const float* decays, std::int64_t sample, std::int64_t channel, float* out) {
  const std::int64_t* starts = p.starts + sample * (p.n_in + 1) + channel;
  std::int64_t step = 0;
  float level = 0;
  for (std::int64_t event = starts[0]; event <= starts[1]; ++event) {
    const std::int64_t end = event < starts[1] ? std::int64_t{p.spike_steps[event]} : p.steps;
    for (std::int64_t s = step; s < end; s += lanes) store(out + s, level * load(decays + s - step));
    level = level * decays[end - step] + 1;
    step = end;
  }
}

void look_up(const float* __restrict trace, const std::int32_t* __restrict lags, std::int64_t n_out,
             std::int64_t n_delays, const std::int32_t* steps, const float* scales, float* __restrict gradient) {
  for (std::int64_t o = 0; o < n_out; ++o, lags += n_delays, gradient += n_delays) {
    const float scale = scales[o];
    if (scale == 0.0F) continue;
    const float* at = trace + steps[o];
    for (std::int64_t tap = 0; tap < n_delays; ++tap) gradient[tap] += scale * at[-lags[tap]];
  }
}

}  // namespace

#if defined(__aarch64__)
#define ISA_NAME "neon"
#else
#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)
#define ISA_NAME TEXT(CORE_ISA)
#endif
extern const Kernels kernels;
const Kernels kernels = {
    ISA_NAME, lanes, scatter, spike_spectra, kernel_spectra, multiply, invert, trace, look_up,
};

}  // namespace denram::CORE_ISA
