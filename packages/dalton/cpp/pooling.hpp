// Max-pooling of one image's maps. A switch is the number of the winner within its window, row by row; the first of
// equal values wins.
#pragma once

#include <vector>

#include "vector.hpp"

namespace dalton::CORE_ISA {

// Calls use(place in the maps of a window's first element, unit) for every vector of pooled values.
template <class T, class Use>
inline void windows(const Geometry& g, const Use& use) {
  Index unit = 0;
  for (Index y = 0; y < g.height(); ++y)
    for (Index x = 0; x < g.width(); ++x)
      for (Index channel = 0; channel < g.out_channels; channel += kLanes<T>, unit += kLanes<T>)
        use((y * g.out_width + x) * g.pool * g.out_channels + channel, unit);
}

// Place of a window's element `number`, counted from its first.
inline Index element(const Geometry& g, Index number) {
  return (number / g.pool * g.out_width + number % g.pool) * g.out_channels;
}

template <class T>
void max_pool(const Geometry& g, const T* maps, T* pooled, std::uint8_t* switches) {
  windows<T>(g, [&](Index first, Index unit) {
    V<T> best = load(maps + first), winner{};
    for (Index number = 1; number < g.pool * g.pool; ++number) {
      const V<T> candidate = load(maps + first + element(g, number));
      winner = where_greater<T>(candidate, best, broadcast(static_cast<T>(number)), winner);
      best = where_greater<T>(candidate, best, candidate, best);
    }
    store(pooled + unit, best);
    store_bytes<T>(switches + unit, winner);
  });
}

// Values at the winners, 0 at the others; maps outside of every window are left alone.
template <class T>
void max_unpool(const Geometry& g, const T* pooled, const std::uint8_t* switches, T* maps) {
  windows<T>(g, [&](Index first, Index unit) {
    const V<T> winner = load_bytes<T>(switches + unit), value = load(pooled + unit), zero{};
    for (Index number = 0; number < g.pool * g.pool; ++number)
      store<T>(maps + first + element(g, number),
               where_equal<T>(winner, broadcast(static_cast<T>(number)), value, zero));
  });
}

// Errors in the order of the maps; own memory where a max-pool lies between.
template <class T>
class Unpooled {
 public:
  Unpooled(const Geometry& g, Index images)
      : own_(static_cast<std::size_t>(g.pool == 1 ? 0 : images * g.out_units())) {}

  // The maps of images from `first` on.
  const T* maps(const Geometry& g, const T* errors, const std::uint8_t* switches, Index first, Index images) {
    if (g.pool == 1) return errors + first * g.out_units();
    for (Index k = 0; k < images; ++k) {
      const Index at = (first + k) * g.units();
      max_unpool(g, errors + at, switches + at, own_.data() + k * g.out_units());
    }
    return own_.data();
  }

 private:
  std::vector<T> own_;
};

}  // namespace dalton::CORE_ISA
