// Arrays of PyTorch's order (channel, row, column) to and from strings of bits in (row, column, channel) order.
#pragma once

#include "problem.hpp"

namespace dalton {

struct Maps {
  Index height, width, channels, padded;  // padded: channels in the string of bits

  Index size() const { return height * width * channels; }
  Index words() const { return Geometry::words(height * width * padded); }
  Index bit(Index unit) const {
    const Index pixel = unit % (height * width);
    return pixel * padded + unit / (height * width);
  }
};

// Encoder: a += gain x + bias, spike above 1, reset to 0. x (steps or 1, batch, unit); state a (batch, unit).
template <class T>
void encode(const Maps& maps, const Extent& extent, const T* x, bool held, T gain, T bias, T* state, Word* spikes) {
  const Index size = maps.size(), words = maps.words();
  const auto work = [&](Index sample) {
    T* a = state + sample * size;
    for (Index t = 0; t < extent.steps; ++t, extent.pause()) {
      const Index image = t * extent.batch + sample;
      const T* in = x + (held ? sample : image) * size;
      Word* out = spikes + image * words;
      for (Index k = 0; k < words; ++k) out[k] = 0;
      for (Index c = 0, unit = 0; c < maps.channels; ++c)
        for (Index bit = c; unit < (c + 1) * maps.height * maps.width; ++unit, bit += maps.padded) {
          const T voltage = a[unit] + (in[unit] * gain + bias);
          const bool fired = voltage > T{1};
          out[bit / 64] |= static_cast<Word>(fired) << (bit % 64);
          a[unit] = fired ? T{0} : voltage;
        }
    }
  };
  share(extent, extent.batch, [&] { return work; });
}

// Bytes (image, unit), 0 or not, become bits.
inline void pack(const Maps& maps, const Extent& extent, const std::uint8_t* bytes, Word* bits) {
  const Index size = maps.size(), words = maps.words();
  const auto work = [&](Index image) {
    Word* out = bits + image * words;
    for (Index k = 0; k < words; ++k) out[k] = 0;
    const std::uint8_t* in = bytes + image * size;
    for (Index c = 0, unit = 0; c < maps.channels; ++c)
      for (Index bit = c; unit < (c + 1) * maps.height * maps.width; ++unit, bit += maps.padded)
        out[bit / 64] |= static_cast<Word>(in[unit] != 0) << (bit % 64);
  };
  share(extent, extent.steps * extent.batch, [&] { return work; });
}

// Bits become values (image, unit): 0 or `value`.
template <class T>
void unpack(const Maps& maps, const Extent& extent, const Word* bits, T value, T* values) {
  const Index size = maps.size(), words = maps.words();
  const auto work = [&](Index image) {
    const Word* in = bits + image * words;
    T* out = values + image * size;
    for (Index c = 0, unit = 0; c < maps.channels; ++c)
      for (Index bit = c; unit < (c + 1) * maps.height * maps.width; ++unit, bit += maps.padded)
        out[unit] = in[bit / 64] >> (bit % 64) & 1 ? value : T{0};
  };
  share(extent, extent.steps * extent.batch, [&] { return work; });
}

}  // namespace dalton
