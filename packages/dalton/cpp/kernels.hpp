// The kernels, compiled once for each instruction set.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "events.hpp"
#include "pooling.hpp"
#include "vector.hpp"

namespace dalton::CORE_ISA {

// State of the neurons of one vector: c = d c + I, u = v + c, spike, reset.
template <class T>
inline Mask<T> neuron_step(const Neuron<T>& n, const V<T>& current, T* v, T* c, T* u) {
  const V<T> zero{}, threshold = broadcast(n.threshold);
  const V<T> synaptic = broadcast(n.decay) * load(c) + current;
  const V<T> potential = load(v) + synaptic;
  const V<T> clipped = where_greater<T>(potential, zero, potential, zero);
  const Mask<T> fired = greater<T>(clipped, threshold);
  const V<T> lost = n.hard_reset ? clipped : threshold;
  store(c, synaptic);
  store(u, potential);
  store<T>(v, clipped - select<T>(fired, lost));
  return fired;
}

// Emit spikes of one vector, dropped ones left out; returns their number before dropout.
template <class T>
inline Index emit(const Word* keep, Word* emitted, Index unit, Mask<T> fired) {
  store_mask<T>(emitted, unit, static_cast<Mask<T>>(keep ? fired & load_mask<T>(keep, unit) : fired));
  return std::popcount(fired);
}

// Sum of weight rows over events, N vectors at once.
template <class T, int N>
inline void gather(const T* weight, Index stride, const std::int32_t* rows, Index count, V<T>* sum) {
  V<T> total[N] = {};
  for (Index k = 0; k < count; ++k) {
    const T* row = weight + rows[k] * stride;
    for (int i = 0; i < N; ++i) total[i] += load(row + i * kLanes<T>);
  }
  for (int i = 0; i < N; ++i) sum[i] = total[i];
}

// Calls use(first channel, sum, vectors) for panels of channels of one position.
template <class T, class Use>
inline void position(const Geometry& g, const T* weight, const std::int32_t* rows, Index count, const Use& use) {
  V<T> sum[8];
  Index channel = 0;
  const auto panel = [&]<int N>() {
    for (; channel + N * kLanes<T> <= g.out_channels; channel += N * kLanes<T>) {
      gather<T, N>(weight + channel, g.out_channels, rows, count, sum);
      use(channel, sum, N);
    }
  };
  panel.template operator()<8>();
  panel.template operator()<4>();
  panel.template operator()<3>();
  panel.template operator()<2>();
  panel.template operator()<1>();
}

// Numbers of weight rows, room for all of them.
using Rows = std::vector<std::int32_t>;

template <class T>
void currents(const Geometry& g, const Extent& extent, const Word* spikes, const T* weight, T scale, T* result,
              std::uint8_t* switches) {
  const V<T> factor = broadcast(scale);
  const auto work = [&](Index image, std::int32_t* rows, T* maps) {
    T* out = g.pool == 1 ? result + image * g.units() : maps;
    for (Index y = 0; y < g.out_height; ++y)
      for (Index x = 0; x < g.out_width; ++x, out += g.out_channels) {
        const Index count = events(g, spikes + image * g.in_words(), y, x, 0, g.kernel_height, rows);
        position(g, weight, rows, count, [&](Index channel, const V<T>* sum, int vectors) {
          for (int i = 0; i < vectors; ++i) store<T>(out + channel + i * kLanes<T>, sum[i] * factor);
        });
      }
    if (g.pool > 1) max_pool(g, maps, result + image * g.units(), switches + image * g.units());
  };
  share(extent, extent.steps * extent.batch, [&] {
    auto maps = std::make_unique_for_overwrite<T[]>(static_cast<std::size_t>(g.pool == 1 ? 0 : g.out_units()));
    return [&, rows = Rows(static_cast<std::size_t>(g.rows())), maps = std::move(maps)](Index image) mutable {
      work(image, rows.data(), maps.get());
    };
  });
}

// States of one sample, at rest where none are given.
template <class T>
struct States {
  std::vector<T> own;
  T *v, *c;
  States(Index units, const ForwardArguments<T>& a, Index sample) {
    if (a.v) {
      v = a.v + sample * units;
      c = a.c + sample * units;
    } else {
      own.assign(static_cast<std::size_t>(2 * units), T{0});
      v = own.data();
      c = v + units;
    }
  }
};

// Words and values of one image; the words behind the units are cleared.
template <class T>
struct Image {
  T* u;
  Word* emitted;
  const Word* keep;
  Image(Index units, const ForwardArguments<T>& a, Index image)
      : u(a.potentials + image * units),
        emitted(a.emitted + image * Geometry::words(units)),
        keep(a.keep ? a.keep + image * Geometry::words(units) : nullptr) {
    const Index words = Geometry::words(units);
    for (Index k = units / 64; k < words; ++k) emitted[k] = 0;
  }
};

template <class T>
void forward(const Geometry& g, const Neuron<T>& n, const Extent& extent, const ForwardArguments<T>& a) {
  const V<T> factor = broadcast(a.scale);
  const auto work = [&](Index sample, std::int32_t* rows) {
    States<T> state(g.units(), a, sample);
    Index spikes = 0;
    for (Index t = 0; t < extent.steps; ++t, extent.pause()) {
      const Index image = t * extent.batch + sample;
      const Image<T> out(g.units(), a, image);
      Index unit = 0;
      for (Index y = 0; y < g.height(); ++y)
        for (Index x = 0; x < g.width(); ++x, unit += g.out_channels) {
          const Index count = events(g, a.spikes + image * g.in_words(), y, x, 0, g.kernel_height, rows);
          position(g, a.weight, rows, count, [&](Index channel, const V<T>* sum, int vectors) {
            for (int i = 0; i < vectors; ++i) {
              const Index k = unit + channel + i * kLanes<T>;
              const auto fired = neuron_step<T>(n, sum[i] * factor, state.v + k, state.c + k, out.u + k);
              spikes += emit<T>(out.keep, out.emitted, k, fired);
            }
          });
        }
    }
    a.counts[sample] = spikes;
  };
  share(extent, extent.batch, [&] {
    return [&, rows = Rows(static_cast<std::size_t>(g.rows()))](Index sample) mutable { work(sample, rows.data()); };
  });
}

template <class T>
void fire(Index units, const Neuron<T>& n, const Extent& extent, const ForwardArguments<T>& a) {
  const auto work = [&](Index sample) {
    States<T> state(units, a, sample);
    Index spikes = 0;
    for (Index t = 0; t < extent.steps; ++t, extent.pause()) {
      const Image<T> out(units, a, t * extent.batch + sample);
      for (Index k = 0; k < units; k += kLanes<T>) {
        const auto fired = neuron_step<T>(n, load(out.u + k), state.v + k, state.c + k, out.u + k);
        spikes += emit<T>(out.keep, out.emitted, k, fired);
      }
    }
    a.counts[sample] = spikes;
  };
  share(extent, extent.batch, [&] { return work; });
}

// One vector of the walk back through time: b and e of the step behind become those of this step.
template <class T>
inline void error_step(const Neuron<T>& n, const ErrorArguments<T>& a, const Word* keep, Index unit, Index at, T* b,
                       T* e) {
  const V<T> zero{}, one = broadcast(T{1}), threshold = broadcast(n.threshold);
  const V<T> u = load(a.potentials + at), z = load(a.z + at);
  const V<T> delta = where_greater<T>(u, zero, u, zero) - threshold;
  const V<T> slope = one + broadcast(n.surrogate_scale) * where_greater<T>(delta, zero, delta, -delta);
  const V<T> derivative = one / (slope * slope);
  const Mask<T> kept = keep ? load_mask<T>(keep, unit) : static_cast<Mask<T>>(~Mask<T>{0});
  const auto below = static_cast<Mask<T>>(~greater<T>(zero, u));
  if (a.transferred) {
    V<T> transfer = derivative * z;
    if (a.rectify) transfer = select<T>(below, transfer);
    if (a.transfer_scale != T{0}) transfer = select<T>(kept, transfer * broadcast(a.transfer_scale));
    store<T>(a.transferred + at, transfer);
  }
  V<T> carried = load(b);
  if (n.hard_reset) carried = select<T>(static_cast<Mask<T>>(~greater<T>(delta, zero)), carried);
  const V<T> gradient = select<T>(kept, z * broadcast(a.scale));
  const V<T> now = select<T>(below, derivative * gradient + carried);
  const V<T> error = now + broadcast(n.decay) * load(e);
  store<T>(b, now);
  store<T>(e, error);
  store<T>(a.z + at, error);
}

template <class T>
void errors(Index units, const Neuron<T>& n, const Extent& extent, const ErrorArguments<T>& a) {
  constexpr Index kChunk = 256;
  const Index chunks = (units + kChunk - 1) / kChunk;
  const auto work = [&](Index piece) {
    const Index sample = piece / chunks, first = piece % chunks * kChunk, last = std::min(first + kChunk, units);
    T b[kChunk] = {}, e[kChunk] = {};
    for (Index t = extent.steps; t-- > 0;) {
      const Index image = t * extent.batch + sample;
      const Word* keep = a.keep ? a.keep + image * Geometry::words(units) : nullptr;
      for (Index k = first; k < last; k += kLanes<T>)
        error_step<T>(n, a, keep, k, image * units + k, b + k - first, e + k - first);
    }
  };
  share(extent, extent.batch * chunks, [&] { return work; });
}

// Add N vectors of an error to the rows of the weight gradient whose inputs spiked.
template <class T, int N>
inline void scatter(const T* error, T* result, Index stride, const std::int32_t* rows, Index count) {
  V<T> value[N];
  for (int i = 0; i < N; ++i) value[i] = load(error + i * kLanes<T>);
  for (Index k = 0; k < count; ++k) {
    T* row = result + rows[k] * stride;
    for (int i = 0; i < N; ++i) store<T>(row + i * kLanes<T>, load(row + i * kLanes<T>) + value[i]);
  }
}

// The part of a weight gradient that one thread sums: its own kernel rows and channels, so that every element is
// summed in the same order for any number of threads.
struct Share {
  Index first_row, last_row, first_channel, last_channel;
};

template <class T>
inline std::vector<Share> shares(const Geometry& g, int threads) {
  const Index vectors = g.out_channels / kLanes<T>;
  const Index rows = std::min<Index>(threads, g.kernel_height);
  const Index channels = std::min<Index>((threads + rows - 1) / rows, vectors);
  std::vector<Share> result;
  for (Index r = 0; r < rows; ++r)
    for (Index c = 0; c < channels; ++c)
      result.push_back({r * g.kernel_height / rows, (r + 1) * g.kernel_height / rows,
                        c * vectors / channels * kLanes<T>, (c + 1) * vectors / channels * kLanes<T>});
  return result;
}

template <class T>
void weight_gradient(const Geometry& g, const Extent& extent, const Word* spikes, const T* errors,
                     const std::uint8_t* switches, T* result) {
  const auto parts = shares<T>(g, extent.threads);
  const auto work = [&](Index piece, std::int32_t* rows, Unpooled<T>& unpooled) {
    const Share part = parts[static_cast<std::size_t>(piece)];
    for (Index image = 0; image < extent.steps * extent.batch; ++image, extent.pause()) {
      const T* error = unpooled.maps(g, errors, switches, image, 1);
      for (Index y = 0; y < g.out_height; ++y)
        for (Index x = 0; x < g.out_width; ++x, error += g.out_channels) {
          const Index count = events(g, spikes + image * g.in_words(), y, x, part.first_row, part.last_row, rows);
          Index channel = part.first_channel;
          const auto panel = [&]<int N>() {
            for (; channel + N * kLanes<T> <= part.last_channel; channel += N * kLanes<T>)
              scatter<T, N>(error + channel, result + channel, g.out_channels, rows, count);
          };
          panel.template operator()<8>();
          panel.template operator()<4>();
          panel.template operator()<3>();
          panel.template operator()<2>();
          panel.template operator()<1>();
        }
    }
  };
  share(extent, static_cast<Index>(parts.size()), [&] {
    return [&, rows = Rows(static_cast<std::size_t>(g.rows())), unpooled = Unpooled<T>(g, 1)](Index piece) mutable {
      work(piece, rows.data(), unpooled);
    };
  });
}

}  // namespace dalton::CORE_ISA
