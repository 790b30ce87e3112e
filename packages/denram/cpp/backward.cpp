// Backward pass: the gradient of the weights from traces read at the windows of the peaks.
#include <algorithm>
#include <cmath>
#include <vector>

#include "membrane.hpp"
#include "parallel.hpp"
#include "passes.hpp"

namespace denram {
namespace {

constexpr float vanishing = 1e-30F;  // decays below this are zero: denormal numbers are slow and weigh nothing

std::vector<float> decays_of(const Problem& p) {
  std::vector<float> decays(size(p.steps + kernels().lanes));
  for (std::int64_t n = 0; n < p.steps + kernels().lanes; ++n)
    decays[size(n)] = static_cast<float>(std::pow(static_cast<double>(p.leak), static_cast<double>(n)));
  for (float& decay : decays)
    if (decay < vanishing) decay = 0;
  return decays;
}

// Gradients over time of the pairs that have no simple window, by pair; empty for all others.
std::vector<std::vector<float>> general_gradients(const Problem& p, const Window* windows, const float* upstream,
                                                  const Team& team) {
  const std::int64_t n_pairs = p.n_samples * p.n_out;
  std::vector<std::vector<float>> gradients(size(n_pairs));
  if (std::none_of(windows, windows + n_pairs, [](const Window& w) { return w.general != 0; })) return gradients;
  const std::vector<float> taps = taps_of(p);
  parallel(n_pairs, team, [&] {
    return [&, current = std::vector<float>(size(p.steps)),
            potential = std::vector<float>(size(p.steps))](std::int64_t pair) mutable {
      if (!windows[pair].general || upstream[pair] == 0.0F) return;
      exact_current(p, taps.data(), pair / p.n_out, pair % p.n_out, current.data());
      integrate(current.data(), p.steps, p.leak, potential.data());
      gradients[size(pair)].resize(size(p.steps));
      general_gradient(current.data(), potential.data(), p.steps, p.leak, gradients[size(pair)].data());
      for (float& value : gradients[size(pair)]) value *= upstream[pair];
    };
  });
  return gradients;
}

// What the traces are read with, per (sample, output): at the peak, and just before the window.
struct Reading {
  Reading(const Problem& p, const Window* windows, const float* upstream, const float* decays)
      : peak(size(p.n_samples * p.n_out)),
        before(peak),
        at_peak(peak.size()),
        at_before(peak.size()),
        any_before(size(p.n_samples)) {
    for (std::int64_t pair = 0; pair < p.n_samples * p.n_out; ++pair) {
      const Window& window = windows[pair];
      if (window.general) continue;
      const float decay = decays[window.peak - window.first + 1];
      peak[size(pair)] = window.peak;
      at_peak[size(pair)] = upstream[pair];
      if (window.first == 0 || decay < static_cast<float>(negligible)) continue;
      before[size(pair)] = window.first - 1;
      at_before[size(pair)] = -upstream[pair] * decay;
      any_before[size(pair / p.n_out)] = 1;
    }
  }
  std::vector<std::int32_t> peak, before;
  std::vector<float> at_peak, at_before;
  std::vector<char> any_before;
};

// Adds one channel's part of the gradient of one sample: (n_out, n_delays).
void add_channel(const Problem& p, const Reading& reading, const std::vector<std::vector<float>>& general,
                 std::int64_t sample, std::int64_t channel, const float* trace, float* gradient) {
  const std::int64_t pairs = sample * p.n_out;
  const std::int32_t* lags = p.lags + channel * p.n_out * p.n_delays;
  kernels().look_up(trace, lags, p.n_out, p.n_delays, reading.peak.data() + pairs, reading.at_peak.data() + pairs,
                    gradient);
  if (reading.any_before[size(sample)])
    kernels().look_up(trace, lags, p.n_out, p.n_delays, reading.before.data() + pairs, reading.at_before.data() + pairs,
                      gradient);
  const std::int64_t* starts = p.starts + sample * (p.n_in + 1) + channel;
  for (std::int64_t o = 0; o < p.n_out; ++o) {
    const std::vector<float>& slopes = general[size(pairs + o)];
    if (slopes.empty()) continue;
    for (std::int64_t event = starts[0]; event < starts[1]; ++event)
      for (std::int64_t tap = o * p.n_delays; tap < (o + 1) * p.n_delays; ++tap)
        gradient[tap] += slopes[size(p.spike_steps[event] + lags[tap])];
  }
}

float bias_gradient(const Problem& p, const Window* windows, const float* upstream,
                    const std::vector<std::vector<float>>& general, const float* decays, std::int64_t output) {
  double total = 0;
  for (std::int64_t pair = output; pair < p.n_samples * p.n_out; pair += p.n_out) {
    const Window& window = windows[pair];
    double sum = 0;
    if (!general[size(pair)].empty())
      for (std::int64_t s = 0; s < p.bias_steps; ++s) total += static_cast<double>(general[size(pair)][size(s)]);
    else if (!window.general)
      for (std::int64_t s = window.first; s <= window.peak && s < p.bias_steps; ++s)
        sum += static_cast<double>(decays[window.peak - s]);
    total += sum * static_cast<double>(upstream[pair]);
  }
  return static_cast<float>(total);
}

}  // namespace

void backward(const Problem& p, const Window* windows, const float* upstream, const Team& team, float* gradient) {
  const std::vector<float> decays = decays_of(p);
  const auto general = general_gradients(p, windows, upstream, team);
  const Reading reading(p, windows, upstream, decays.data());
  const std::int64_t columns = p.n_in * p.n_delays + 1, per_channel = p.n_out * p.n_delays;
  const std::int64_t longest = longest_lag(p);
  parallel(p.n_in + p.n_out, team, [&] {  // channels, then the biases
    return [&, trace = std::vector<float>(size(longest + p.steps + kernels().lanes)),
            sum = std::vector<float>(size(per_channel))](std::int64_t channel) mutable {
      if (const std::int64_t o = channel - p.n_in; o >= 0) {
        gradient[(o + 1) * columns - 1] = bias_gradient(p, windows, upstream, general, decays.data(), o);
        return;
      }
      std::fill(sum.begin(), sum.end(), 0.0F);
      for (std::int64_t sample = 0; sample < p.n_samples; ++sample) {
        const std::int64_t* starts = p.starts + sample * (p.n_in + 1) + channel;
        if (starts[0] == starts[1]) continue;
        kernels().trace(p, decays.data(), sample, channel, trace.data() + longest);
        add_channel(p, reading, general, sample, channel, trace.data() + longest, sum.data());
      }
      for (std::int64_t o = 0; o < p.n_out; ++o)
        std::copy_n(sum.data() + o * p.n_delays, p.n_delays, gradient + o * columns + channel * p.n_delays);
    };
  });
}

}  // namespace denram
