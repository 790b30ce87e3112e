// A^T e by a register-blocked product: for each input pixel the kernel taps that reach it, for M images at once.
#pragma once

#include <algorithm>
#include <vector>

#include "pooling.hpp"
#include "vector.hpp"

namespace dalton::CORE_ISA {

struct Tap {
  Index error;   // offset of the output position in an image of errors
  Index number;  // of the kernel element
};

// The output positions and kernel elements that input pixel (y, x) takes part in.
inline void taps_of(const Geometry& g, Index y, Index x, std::vector<Tap>& taps) {
  taps.clear();
  for (Index ky = 0; ky < g.kernel_height; ++ky) {
    const Index oy = (y - ky) / g.stride;
    if (y < ky || (y - ky) % g.stride || oy >= g.out_height) continue;
    for (Index kx = 0; kx < g.kernel_width; ++kx) {
      const Index ox = (x - kx) / g.stride;
      if (x < kx || (x - kx) % g.stride || ox >= g.out_width) continue;
      taps.push_back({(oy * g.out_width + ox) * g.out_channels, ky * g.kernel_width + kx});
    }
  }
}

// M images times N vectors of channels; image `last` and later ones repeat it and are not stored.
template <class T, int M, int N>
inline void block(const Geometry& g, const std::vector<Tap>& taps, const T* weight, const T* errors, Index images,
                  T* result, Index vectors) {
  V<T> sum[M][N] = {};
  const Index stride = g.out_units();
  const T* first[M];
  for (int m = 0; m < M; ++m) first[m] = errors + std::min<Index>(m, images - 1) * stride;
  for (const Tap& tap : taps) {
    const T* w = weight + tap.number * g.depth * N * kLanes<T>;
    for (Index k = 0; k < g.depth; ++k, w += N * kLanes<T>) {
      V<T> row[N];
      for (int i = 0; i < N; ++i) row[i] = load(w + i * kLanes<T>);
      for (int m = 0; m < M; ++m) {
        const V<T> error = broadcast(first[m][tap.error + k]);
        for (int i = 0; i < N; ++i) sum[m][i] = multiply_add<T>(error, row[i], sum[m][i]);
      }
    }
  }
  // Loops of constant length: with others, a compiler keeps the sums in memory, and stores each of them for each row of
  // weights. Sums of several registers it keeps there anyway, and takes longer with these.
  constexpr bool constant = Vector<T>::kParts == 1;
  for (int m = 0; m < (constant ? M : std::min<Index>(M, images)); ++m)
    for (int i = 0; i < (constant ? N : std::min<Index>(N, vectors)); ++i)
      if (!constant || (m < images && i < vectors)) store<T>(result + m * g.in_units() + i * kLanes<T>, sum[m][i]);
}

template <class T, int M, int N>
void adjoint_blocked(const Geometry& g, const Extent& extent, const T* weight, const T* errors,
                     const std::uint8_t* switches, T* result) {
  const Index images = extent.steps * extent.batch, width = N * kLanes<T>;
  const Index panels = (g.in_channels + width - 1) / width;
  const Index panel_size = g.kernel_height * g.kernel_width * g.depth * width;
  const Index together = g.in_height * g.in_width == 1 ? 8 * M : M;
  const auto work = [&](Index piece, std::vector<Tap>& taps, Unpooled<T>& unpooled) {
    const Index begin = piece * together, end = std::min(begin + together, images);
    const T* maps = unpooled.maps(g, errors, switches, begin, end - begin);
    for (Index y = 0; y < g.in_height; ++y)
      for (Index x = 0; x < g.in_width; ++x) {
        taps_of(g, y, x, taps);
        for (Index panel = 0; panel < panels; ++panel)
          for (Index image = begin; image < end; image += M) {
            const Index unit = (y * g.in_width + x) * g.in_channels + panel * width;
            block<T, M, N>(g, taps, weight + panel * panel_size, maps + (image - begin) * g.out_units(), end - image,
                           result + image * g.in_units() + unit, (g.in_channels - panel * width) / kLanes<T>);
          }
      }
  };
  share(extent, (images + together - 1) / together, [&] {
    return [&, taps = std::vector<Tap>(), unpooled = Unpooled<T>(g, together)](Index piece) mutable {
      work(piece, taps, unpooled);
    };
  });
}

template <class T>
void adjoint(const Geometry& g, const Extent& extent, Index vectors, const T* weight, const T* errors,
             const std::uint8_t* switches, T* result) {
#if defined(__AVX512F__)
  if (vectors == 4) return adjoint_blocked<T, 6, 4>(g, extent, weight, errors, switches, result);
  if (vectors == 3) return adjoint_blocked<T, 8, 3>(g, extent, weight, errors, switches, result);
  if (vectors == 2) return adjoint_blocked<T, 12, 2>(g, extent, weight, errors, switches, result);
  return adjoint_blocked<T, 16, 1>(g, extent, weight, errors, switches, result);
#elif defined(__SSE2__) && !defined(__AVX2__)  // 16 registers, of which a vector of float takes two
  if (vectors == 4) return adjoint_blocked<T, 1, 4>(g, extent, weight, errors, switches, result);
  if (vectors == 3) return adjoint_blocked<T, 2, 3>(g, extent, weight, errors, switches, result);
  if (vectors == 2) return adjoint_blocked<T, 3, 2>(g, extent, weight, errors, switches, result);
  return adjoint_blocked<T, 6, 1>(g, extent, weight, errors, switches, result);
#else
  if (vectors == 4) return adjoint_blocked<T, 3, 4>(g, extent, weight, errors, switches, result);
  if (vectors == 3) return adjoint_blocked<T, 4, 3>(g, extent, weight, errors, switches, result);
  if (vectors == 2) return adjoint_blocked<T, 6, 2>(g, extent, weight, errors, switches, result);
  return adjoint_blocked<T, 12, 1>(g, extent, weight, errors, switches, result);
#endif
}

}  // namespace dalton::CORE_ISA
