// Forward and backward pass over a batch of spike events, and the C functions Python calls.
#include "engine.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels.hpp"
#include "membrane.hpp"
#include "parallel.hpp"
#include "plan.hpp"

namespace denram {
namespace {

constexpr std::int64_t channels_at_once = 32;  // spectra of so many channels of all samples stay in the L2 cache
constexpr std::int64_t rows_at_once = 16;      // (sample, output) pairs brought back to time together
constexpr float spectral_error = 2e-6F;        // bound on the error of a current relative to the largest value in play
constexpr float vanishing = 1e-30F;            // decays below this are zero: denormal numbers are slow and weigh nothing

std::size_t size(std::int64_t count) { return static_cast<std::size_t>(count); }

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

// Weights in the order the kernels walk through them: (n_in, n_out, n_delays).
std::vector<float> taps_of(const Problem& p) {
    std::vector<float> taps(size(p.n_in * p.n_out * p.n_delays));
    const std::int64_t columns = p.n_in * p.n_delays + 1;
    for (std::int64_t o = 0; o < p.n_out; ++o)
        for (std::int64_t c = 0; c < p.n_in; ++c)
            std::copy_n(p.weights + o * columns + c * p.n_delays, p.n_delays,
                        taps.data() + (c * p.n_out + o) * p.n_delays);
    return taps;
}

float bias_of(const Problem& p, std::int64_t output) { return p.weights[(output + 1) * (p.n_in * p.n_delays + 1) - 1]; }

std::vector<std::int32_t> live_channels(const Problem& p) {
    std::vector<std::int32_t> live;
    for (std::int64_t c = 0; c < p.n_in; ++c)
        for (std::int64_t s = 0; s < p.n_samples; ++s) {
            const std::int64_t* start = p.starts + s * (p.n_in + 1) + c;
            if (start[1] > start[0]) {
                live.push_back(static_cast<std::int32_t>(c));
                break;
            }
        }
    return live;
}

// Current of one output in one sample, summed in the same order as by the scatter kernel.
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

void forward_scatter(const Problem& p, const float* taps, std::int64_t threads, Window* windows, float* scores,
                     float* currents, float* potentials) {
    parallel(p.n_samples, threads, [&] {
        return [&, rows = std::vector<float>(size(p.steps * p.n_out)), current = std::vector<float>(size(p.steps)),
                potential = std::vector<float>(size(p.steps))](std::int64_t sample) mutable {
            kernels().scatter(p, taps, sample, rows.data());
            for (std::int64_t o = 0; o < p.n_out; ++o) {
                for (std::int64_t s = 0; s < p.steps; ++s)
                    current[size(s)] = rows[size(s * p.n_out + o)] + (s < p.bias_steps ? bias_of(p, o) : 0.0F);
                integrate(current.data(), p.steps, p.leak, potential.data());
                const Window window = exact_window(current.data(), potential.data(), p.steps, p.leak);
                windows[sample * p.n_out + o] = window;
                scores[sample * p.n_out + o] = potential[size(window.peak)];
                for (std::int64_t s = 0; currents && s < p.steps; ++s) {
                    currents[(s * p.n_samples + sample) * p.n_out + o] = current[size(s)];
                    potentials[(s * p.n_samples + sample) * p.n_out + o] = potential[size(s)];
                }
            }
        };
    });
}

// Spectra of all currents, (block, sample, n_out, 2, lanes).
std::vector<float> current_spectra(const Problem& p, const Plan& plan, const float* taps, std::int64_t threads) {
    const std::vector<std::int32_t> live = live_channels(p);
    const std::int64_t vector = 2 * plan.lanes, block_size = p.n_samples * p.n_out * vector;
    std::vector<float> spectra(size(plan.n_blocks * block_size));
    parallel(plan.n_blocks, threads, [&] {
        return [&, spikes = std::vector<float>(size(p.n_samples * channels_at_once * vector)),
                delays = std::vector<float>(size(p.n_out * channels_at_once * vector))](std::int64_t block) mutable {
            const float* phases = plan.phases.data() + block * plan.steps * vector;
            for (std::size_t c = 0; c < live.size(); c += channels_at_once) {
                const auto count = std::min(channels_at_once, static_cast<std::int64_t>(live.size() - c));
                kernels().spike_spectra(p, phases, live.data() + c, count, spikes.data());
                kernels().kernel_spectra(p, phases, taps, live.data() + c, count, delays.data());
                kernels().multiply(spikes.data(), delays.data(), p.n_samples, p.n_out, count,
                                   spectra.data() + block * block_size);
            }
        };
    });
    return spectra;
}

// One tile of currents in time, its potentials and room for the two halves of the inverse transform.
struct Tile {
    Tile(const Problem& p, const Plan& plan)
        : even(size(rows_at_once * plan.half)), odd(even), current(size(rows_at_once * p.steps)), potential(current),
          exact_current(size(p.steps)), exact_potential(size(p.steps)) {}
    std::vector<float> even, odd, current, potential, exact_current, exact_potential;
};

// Currents of the rows from `first` on, in time, (time, row of the tile), bias included; the largest of each row.
void rows_to_time(const Problem& p, const Plan& plan, const float* spectra, std::int64_t first, std::int64_t count,
                  Tile& tile, float* largest) {
    const std::int64_t n_rows = p.n_samples * p.n_out;
    for (std::int64_t row = 0; row < count; row += 4)
        kernels().invert(spectra, plan.waves.data(), n_rows, first + row, plan.n_blocks, plan.half,
                         tile.even.data() + row * plan.half, tile.odd.data() + row * plan.half);
    for (std::int64_t row = 0; row < count; ++row) {
        const float* even = tile.even.data() + row * plan.half;
        const float* odd = tile.odd.data() + row * plan.half;
        const float bias = bias_of(p, (first + row) % p.n_out);
        float top = 0;
        for (std::int64_t s = 0; s < p.steps; ++s) {
            const bool mirrored = s > plan.period / 2;
            const float value = mirrored ? even[plan.period - s] - odd[plan.period - s] : even[s] + odd[s];
            top = std::max(top, std::abs(value));
            tile.current[size(s * rows_at_once + row)] = value + (s < p.bias_steps ? bias : 0.0F);
        }
        largest[row] = top;
    }
}

void integrate_tile(const Problem& p, Tile& tile) {
    float value[rows_at_once] = {};
    for (std::int64_t s = 0; s < p.steps; ++s)
        for (std::int64_t row = 0; row < rows_at_once; ++row) {
            value[row] = std::max(0.0F, p.leak * value[row] + tile.current[size(s * rows_at_once + row)]);
            tile.potential[size(s * rows_at_once + row)] = value[row];
        }
}

void forward_spectral(const Problem& p, const float* taps, std::int64_t threads, Window* windows, float* scores) {
    const auto plan = plan_for(p.steps, kernels().lanes);
    const std::vector<float> spectra = current_spectra(p, *plan, taps, threads);
    std::vector<float> largest_weight(size(p.n_out));
    for (std::int64_t index = 0; index < p.n_in * p.n_out * p.n_delays; ++index) {
        float& largest = largest_weight[size(index / p.n_delays % p.n_out)];
        largest = std::max(largest, std::abs(taps[index]));
    }
    const float growth = std::min(static_cast<float>(p.steps), 1 / (1 - p.leak));
    const std::int64_t n_rows = p.n_samples * p.n_out;
    parallel((n_rows + rows_at_once - 1) / rows_at_once, threads, [&] {
        return [&, tile = Tile(p, *plan)](std::int64_t item) mutable {
            const std::int64_t first = item * rows_at_once, count = std::min(rows_at_once, n_rows - first);
            float largest[rows_at_once] = {};
            rows_to_time(p, *plan, spectra.data(), first, count, tile, largest);
            integrate_tile(p, tile);
            for (std::int64_t row = 0; row < count; ++row) {
                const std::int64_t pair = first + row, output = pair % p.n_out;
                const float tolerance = spectral_error * growth * std::max(largest[row], largest_weight[size(output)]);
                Window& window = windows[pair];
                if (safe_window(tile.current.data() + row, tile.potential.data() + row, rows_at_once, p.steps, p.leak,
                                tolerance, window)) {
                    scores[pair] = tile.potential[size(window.peak * rows_at_once + row)];
                    continue;
                }
                exact_current(p, taps, pair / p.n_out, output, tile.exact_current.data());
                integrate(tile.exact_current.data(), p.steps, p.leak, tile.exact_potential.data());
                window = exact_window(tile.exact_current.data(), tile.exact_potential.data(), p.steps, p.leak);
                scores[pair] = tile.exact_potential[size(window.peak)];
            }
        };
    });
}

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
                                                  std::int64_t threads) {
    const std::int64_t n_pairs = p.n_samples * p.n_out;
    std::vector<std::vector<float>> gradients(size(n_pairs));
    if (std::none_of(windows, windows + n_pairs, [](const Window& w) { return w.general != 0; })) return gradients;
    const std::vector<float> taps = taps_of(p);
    parallel(n_pairs, threads, [&] {
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
        : peak(size(p.n_samples * p.n_out)), before(peak), at_peak(peak.size()), at_before(peak.size()),
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
        kernels().look_up(trace, lags, p.n_out, p.n_delays, reading.before.data() + pairs,
                          reading.at_before.data() + pairs, gradient);
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

void backward(const Problem& p, const Window* windows, const float* upstream, std::int64_t threads, float* gradient) {
    const std::vector<float> decays = decays_of(p);
    const auto general = general_gradients(p, windows, upstream, threads);
    const Reading reading(p, windows, upstream, decays.data());
    const std::int64_t columns = p.n_in * p.n_delays + 1, per_channel = p.n_out * p.n_delays;
    const std::int64_t longest = *std::max_element(p.lags, p.lags + p.n_in * per_channel);
    parallel(p.n_in, threads, [&] {
        return [&, trace = std::vector<float>(size(longest + p.steps + kernels().lanes)),
                sum = std::vector<float>(size(per_channel))](std::int64_t channel) mutable {
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
    for (std::int64_t o = 0; o < p.n_out; ++o)
        gradient[(o + 1) * columns - 1] = bias_gradient(p, windows, upstream, general, decays.data(), o);
}

// Whether transforms are expected to be faster than adding single spikes; constants measured, see the benchmarks.
bool spectral_pays(const Problem& p) {
    double events = 0;
    for (std::int64_t s = 0; s < p.n_samples; ++s) {
        const std::int64_t* starts = p.starts + s * (p.n_in + 1);
        events += static_cast<double>(starts[p.n_in] - starts[0]);
    }
    const auto outputs = static_cast<double>(p.n_out), steps = static_cast<double>(p.steps);
    const double lanes = static_cast<double>(kernels().lanes);
    const double adding = events * outputs * static_cast<double>(p.n_delays);
    const double product = static_cast<double>(p.n_samples * p.n_in) * outputs * steps * 2 / lanes;
    const double transforms = (events + static_cast<double>(p.n_in * p.n_delays) * outputs) * steps * 2 / lanes;
    return product + transforms < adding * 1.5;
}

}  // namespace
}  // namespace denram

using denram::Problem;
using denram::Window;

const char* denram_variant() { return denram::kernels().name; }

int denram_abi() { return DENRAM_ABI; }

int denram_forward(const Problem* problem, int method, std::int64_t threads, Window* windows, float* scores,
                   float* currents, float* potentials) noexcept {
    try {
        const std::vector<float> taps = denram::taps_of(*problem);
        const bool spectral = !currents && (method == 2 || (method == 0 && denram::spectral_pays(*problem)));
        if (spectral)
            denram::forward_spectral(*problem, taps.data(), threads, windows, scores);
        else
            denram::forward_scatter(*problem, taps.data(), threads, windows, scores, currents, potentials);
        return 0;
    } catch (...) {
        return 1;
    }
}

int denram_backward(const Problem* problem, const Window* windows, const float* upstream, std::int64_t threads,
                    float* gradient) noexcept {
    try {
        denram::backward(*problem, windows, upstream, threads, gradient);
        return 0;
    } catch (...) {
        return 1;
    }
}
