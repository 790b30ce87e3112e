// Weights in PyTorch's order (out, in, row, column) to and from the order of the kernels, mean pooling folded in.
#pragma once

#include <algorithm>
#include <vector>

#include "problem.hpp"

namespace dalton {

// A convolution and the mean pooling behind it are one convolution (pool 1: none), W'[j] = 1/p^2 sum over
// 0 <= a < p of W[j - stride a] on both axes. A dense layer is a kernel of its input's size.
struct Fold {
  Index out, in, height, width, stride, pool;  // of the plain weight
  Index in_padded, out_padded;

  Index folded_height() const { return height + stride * (pool - 1); }
  Index folded_width() const { return width + stride * (pool - 1); }
  Index plain_size() const { return out * in * height * width; }
  Index size() const { return folded_height() * folded_width() * in_padded * out_padded; }
};

constexpr Index kTile = 16;  // output channels that are reordered together

// Calls use(element, folded element) for every pair of elements that belong together, in the order of the sums.
template <class Use>
void pairs(const Fold& f, const Use& use) {
  for (Index a = 0; a < f.pool; ++a)
    for (Index b = 0; b < f.pool; ++b)
      for (Index y = 0; y < f.height; ++y)
        for (Index x = 0; x < f.width; ++x)
          use(y * f.width + x, (y + f.stride * a) * f.folded_width() + x + f.stride * b);
}

// From sums over a window to its means.
template <class T>
void average(const Fold& f, std::vector<T>& sum) {
  if (f.pool == 1) return;
  for (T& value : sum) value /= static_cast<T>(f.pool * f.pool);
}

// rows (folded row, folded column, in_padded, out_padded), which are zero where channels are padding.
template <class T>
void fold(const Fold& f, const T* weight, T* rows) {
  const Index plain = f.height * f.width, folded = f.folded_height() * f.folded_width();
  std::vector<T> source(static_cast<std::size_t>(plain * kTile)), sum(static_cast<std::size_t>(folded * kTile));
  std::fill(rows, rows + f.size(), T{0});
  for (Index channel = 0; channel < f.in; ++channel)
    for (Index first = 0; first < f.out; first += kTile) {
      const Index tile = std::min(kTile, f.out - first);
      for (Index k = 0; k < tile; ++k)
        for (Index j = 0; j < plain; ++j)
          source.data()[j * kTile + k] = weight[((first + k) * f.in + channel) * plain + j];
      std::fill(sum.begin(), sum.end(), T{0});
      pairs(f, [&](Index j, Index folded_j) {
        for (Index k = 0; k < kTile; ++k) sum.data()[folded_j * kTile + k] += source.data()[j * kTile + k];
      });
      average(f, sum);
      for (Index j = 0; j < folded; ++j)
        std::copy_n(sum.data() + j * kTile, tile, rows + (j * f.in_padded + channel) * f.out_padded + first);
    }
}

// The adjoint of `fold`: dW[j] = 1/p^2 sum over a of dW'[j + stride a].
template <class T>
void unfold(const Fold& f, const T* rows, T* weight) {
  const Index plain = f.height * f.width;
  std::vector<T> sum(static_cast<std::size_t>(plain * kTile));
  for (Index channel = 0; channel < f.in; ++channel)
    for (Index first = 0; first < f.out; first += kTile) {
      const Index tile = std::min(kTile, f.out - first);
      std::fill(sum.begin(), sum.end(), T{0});
      pairs(f, [&](Index j, Index folded_j) {
        const T* source = rows + (folded_j * f.in_padded + channel) * f.out_padded + first;
        for (Index k = 0; k < tile; ++k) sum.data()[j * kTile + k] += source[k];
      });
      average(f, sum);
      for (Index k = 0; k < tile; ++k)
        for (Index j = 0; j < plain; ++j)
          weight[((first + k) * f.in + channel) * plain + j] = sum.data()[j * kTile + k];
    }
}

// rows become what the adjoint multiplies by, (panel of `width` input channels, tap, depth, width); the last panel's
// channels behind the input's are zero.
template <class T>
void panels(const Geometry& g, Index width, const T* rows, T* result) {
  const Index taps = g.kernel_height * g.kernel_width;
  for (Index first = 0; first < g.in_channels; first += width) {
    const Index filled = std::min(width, g.in_channels - first);
    for (Index tap = 0; tap < taps; ++tap)
      for (Index k = 0; k < g.depth; ++k, result += width) {
        const T* source = rows + (tap * g.in_channels + first) * g.out_channels + k;
        for (Index channel = 0; channel < filled; ++channel) result[channel] = source[channel * g.out_channels];
        std::fill(result + filled, result + width, T{0});
      }
  }
}

}  // namespace dalton
