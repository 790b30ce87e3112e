// Which inputs of an output position spike: the numbers of the weight rows to add.
#pragma once

#include <bit>

#include "problem.hpp"

namespace dalton {

// Write the rows (kernel row, kernel column, channel) of the spikes seen from (y, x) by the kernel rows from `ky` to
// `last`; returns their number.
inline Index events(const Geometry& g, const Word* spikes, Index y, Index x, Index ky, Index last, std::int32_t* rows) {
  const Index span = g.kernel_width * g.in_channels;
  std::int32_t* end = rows;
  for (; ky < last; ++ky) {
    const Index first = ((y * g.stride + ky) * g.in_width + x * g.stride) * g.in_channels;
    const Word* word = spikes + first / 64;
    const int shift = static_cast<int>(first % 64);
    for (Index k = 0; k < span; k += 64, ++word) {
      Word bits = shift ? word[0] >> shift | word[1] << (64 - shift) : word[0];
      if (span - k < 64) bits &= (Word{1} << (span - k)) - 1;
      const auto base = static_cast<std::int32_t>(ky * span + k);
      for (; bits; bits &= bits - 1) *end++ = base + std::countr_zero(bits);
    }
  }
  return end - rows;
}

}  // namespace dalton
