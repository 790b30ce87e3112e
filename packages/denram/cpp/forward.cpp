// Forward pass over a batch of spike events: by adding single spikes, or by transforms over time.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <thread>
#include <vector>

#include "membrane.hpp"
#include "parallel.hpp"
#include "passes.hpp"
#include "plan.hpp"

namespace denram {
namespace {

constexpr std::int64_t channels_at_once = 32;  // spectra of so many channels of all samples stay in the L2 cache
constexpr std::int64_t rows_at_once = 16;      // (sample, output) pairs brought back to time together
constexpr float spectral_error = 2e-6F;        // bound on the error of a current relative to the largest value in play

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

// A block of frequencies of some samples.
struct Piece {
  std::int64_t block, first, count;
};

// Into how many ranges of samples the blocks are split that are left over when every thread has had equally many. Each
// range needs the spectra of the delays anew, so with some numbers of threads it is best not to split. The weights of
// delays, spikes and products are measured, see the benchmarks.
std::int64_t ranges_of(const Problem& p, std::int64_t blocks, std::int64_t team) {
  std::int64_t events = 0;
  for (std::int64_t s = 0; s < p.n_samples; ++s) {
    const std::int64_t* starts = p.starts + s * (p.n_in + 1);
    events += starts[p.n_in] - starts[0];
  }
  const auto delays = static_cast<double>(5 * p.n_in * p.n_out * p.n_delays);
  const auto samples = static_cast<double>(3 * events + 2 * p.n_samples * p.n_in * p.n_out);
  std::int64_t best = 1;
  double least = 0;
  for (std::int64_t k = 1; k <= team; ++k) {
    const auto rounds = static_cast<double>((blocks * k + team - 1) / team);
    const double time = rounds * (delays + samples / static_cast<double>(k));
    if (k == 1 || time < least) best = k, least = time;
  }
  return best;
}

// Whole blocks as far as every thread gets equally many, then ranges of samples of the others, so that no thread waits
// long for the last block of another.
std::vector<Piece> pieces_of(const Problem& p, const Plan& plan, std::int64_t threads) {
  const std::int64_t team = std::max<std::int64_t>(1, std::min(threads, p.n_samples));
  const std::int64_t rest = plan.n_blocks % team, ranges = ranges_of(p, rest, team);
  std::vector<Piece> pieces;
  for (std::int64_t block = 0; block < plan.n_blocks - rest; ++block) pieces.push_back({block, 0, p.n_samples});
  for (std::int64_t block = plan.n_blocks - rest; block < plan.n_blocks; ++block)
    for (std::int64_t k = 0; k < ranges; ++k) {
      const std::int64_t first = p.n_samples * k / ranges, end = p.n_samples * (k + 1) / ranges;
      pieces.push_back({block, first, end - first});
    }
  return pieces;
}

// Spectra of all currents, (block, sample, n_out, 2, lanes).
std::unique_ptr<float[]> current_spectra(const Problem& p, const Plan& plan, const float* taps, const Team& team) {
  const std::vector<std::int32_t> live = live_channels(p);
  const std::int64_t vector = 2 * plan.lanes, block_size = p.n_samples * p.n_out * vector;
  auto spectra = std::make_unique_for_overwrite<float[]>(size(plan.n_blocks * block_size));
  const auto caller = std::this_thread::get_id();
  std::atomic<bool> stopped{false};
  const auto look = [&] {  // a block of many samples is long, so all threads look up between two sets of channels
    if (std::this_thread::get_id() == caller) {
      try {
        team.between();
      } catch (...) {
        stopped = true;
        throw;
      }
    }
    return !stopped;
  };
  const std::vector<Piece> pieces = pieces_of(p, plan, team.threads);
  parallel(static_cast<std::int64_t>(pieces.size()), team, [&] {
    return [&, spikes = std::vector<float>(size(p.n_samples * channels_at_once * vector)),
            delays = std::vector<float>(size(p.n_out * channels_at_once * vector))](std::int64_t index) mutable {
      const Piece& piece = pieces[size(index)];
      Problem part = p;
      part.n_samples = piece.count;
      part.starts += piece.first * (p.n_in + 1);
      const float* phases = plan.phases.data() + piece.block * plan.steps * vector;
      float* currents = spectra.get() + piece.block * block_size + piece.first * p.n_out * vector;
      std::fill_n(currents, piece.count * p.n_out * vector, 0.0F);
      for (std::size_t c = 0; c < live.size() && look(); c += channels_at_once) {
        const auto count = std::min(channels_at_once, static_cast<std::int64_t>(live.size() - c));
        kernels().spike_spectra(part, phases, live.data() + c, count, spikes.data());
        kernels().kernel_spectra(part, phases, taps, live.data() + c, count, delays.data());
        kernels().multiply(spikes.data(), delays.data(), part.n_samples, p.n_out, count, currents);
      }
    };
  });
  return spectra;
}

// Eight side by side: a single largest value would wait for itself at every number.
float largest_magnitude(const float* values, std::int64_t count) {
  float lanes[8] = {};
  std::int64_t k = 0;
  for (; k + 8 <= count; k += 8)
    for (int lane = 0; lane < 8; ++lane) lanes[lane] = std::max(lanes[lane], std::abs(values[k + lane]));
  for (; k < count; ++k) lanes[0] = std::max(lanes[0], std::abs(values[k]));
  return *std::max_element(lanes, lanes + 8);
}

// One tile of currents in time, its potentials and room for the two halves of the inverse transform.
struct Tile {
  Tile(const Problem& p, const Plan& plan)
      : even(size(rows_at_once * plan.half)),
        odd(even),
        current(size(rows_at_once * p.steps)),
        potential(current),
        exact_current(size(p.steps)),
        exact_potential(size(p.steps)) {}
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
      value[row] = rectified(p.leak * value[row] + tile.current[size(s * rows_at_once + row)]);
      tile.potential[size(s * rows_at_once + row)] = value[row];
    }
}

}  // namespace

void forward_scatter(const Problem& p, const float* taps, const Team& team, Window* windows, float* scores,
                     float* currents, float* potentials) {
  parallel(p.n_samples, team, [&] {
    return [&, rows = std::vector<float>(size(p.steps * p.n_out)), current = std::vector<float>(size(p.steps)),
            potential = std::vector<float>(size(p.steps))](std::int64_t sample) mutable {
      kernels().scatter(p, taps, sample, rows.data());
      for (std::int64_t o = 0; o < p.n_out; ++o) {
        for (std::int64_t s = 0; s < p.steps; ++s)
          current[size(s)] = rows[size(s * p.n_out + o)] + (s < p.bias_steps ? bias_of(p, o) : 0.0F);
        integrate(current.data(), p.steps, p.leak, potential.data());
        const Window window = exact_window(current.data(), potential.data(), p.steps, p.leak);
        windows[sample * p.n_out + o] = window;
        scores[sample * p.n_out + o] = score_of(potential.data(), p.steps, window);
        for (std::int64_t s = 0; currents && s < p.steps; ++s) {
          currents[(s * p.n_samples + sample) * p.n_out + o] = current[size(s)];
          potentials[(s * p.n_samples + sample) * p.n_out + o] = potential[size(s)];
        }
      }
    };
  });
}

void forward_spectral(const Problem& p, const float* taps, const Team& team, Window* windows, float* scores) {
  const auto plan = plan_for(p.steps, kernels().lanes);
  const auto spectra = current_spectra(p, *plan, taps, team);
  std::vector<float> largest_weight(size(p.n_out));
  parallel(p.n_out, team, [&] {
    return [&](std::int64_t output) {
      largest_weight[size(output)] =
          largest_magnitude(p.weights + output * (p.n_in * p.n_delays + 1), p.n_in * p.n_delays);
    };
  });
  const float growth = std::min(static_cast<float>(p.steps), 1 / (1 - p.leak));
  const std::int64_t n_rows = p.n_samples * p.n_out;
  parallel((n_rows + rows_at_once - 1) / rows_at_once, team, [&] {
    return [&, tile = Tile(p, *plan)](std::int64_t item) mutable {
      const std::int64_t first = item * rows_at_once, count = std::min(rows_at_once, n_rows - first);
      float largest[rows_at_once] = {};
      rows_to_time(p, *plan, spectra.get(), first, count, tile, largest);
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
        scores[pair] = score_of(tile.exact_potential.data(), p.steps, window);
      }
    };
  });
}

}  // namespace denram
