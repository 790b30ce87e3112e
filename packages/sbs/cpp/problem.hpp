// One forward pass: what goes in, what comes out, and the scratch memory of a thread.
#pragma once

#include <cstdint>

namespace sbs {

constexpr int kLanes = 16;            // floats handled together, on every instruction set
constexpr int kBlock = 64;            // spikes drawn at a time
constexpr int kDepth = 6;             // levels of the search tree: 16^6 components
constexpr int kWideFrom = 5;          // vectors per h from which positions are worked off in small groups
constexpr float kThreshold = 1e-10F;  // smallest likelihood of a spike that still changes h
constexpr float kRescale = 1e10F;     // the scaled h is divided by its scale when that passes this

struct Geometry {
  std::int64_t kernel[2], stride[2], dilation[2], padding[2];
  std::int64_t samples, channels, size[2], out[2];  // image (sample, channel, size), grid (out)
  std::int64_t step[4];                             // strides of the image in elements

  std::int64_t kernel_size() const { return kernel[0] * kernel[1]; }
};

struct Problem {
  Geometry geometry;
  const float* image;
  const std::int64_t* offset;                 // (component) place of a component relative to its patch's first element
  std::int64_t components, neurons, vectors;  // h is padded to `vectors` * 16 neurons
  const float* weights;                       // (component, vectors * 16), padded with 0
  const float* h_initial;                     // (vectors * 16), padded with 0
  const float* uniform_pull;                  // (vectors * 16): forgetting / J, padded with 0
  float forgetting;
  const float* epsilon_t;  // (spike), times epsilon_0
  std::int64_t spikes;
  const float* epsilon_xy;     // (X * Y, epsilon_width)
  std::int64_t epsilon_width;  // 1, or k0 * k1
  bool one_hot;                // weights are those of a pooling layer
  std::uint64_t seed, first_position;
  const float* uniform;       // (sample, spike, X, Y), or null
  bool lower;                 // first cdf >= u instead of first cdf > u
  const std::int32_t* given;  // (sample, spike, X, Y), or null
  std::int32_t* kept;         // (sample, spike, X, Y), or null
  float* h;                   // (position, neuron)

  std::int64_t positions() const { return geometry.samples * geometry.out[0] * geometry.out[1]; }
  // Pooling needs only the channel of a spike, unless its place in the kernel matters.
  bool by_channel() const { return one_hot && kept == nullptr && given == nullptr && epsilon_width == 1; }
  std::int64_t kernel_size() const { return geometry.kernel_size(); }
  std::int64_t choices() const { return by_channel() ? geometry.channels : components; }
  // Positions a thread works on at a time.
  std::int64_t chunk() const { return vectors >= kWideFrom ? 4 : 2 * kLanes; }
};

// Levels of the search tree over `count` cumulative values; level 0 holds the values, each further level the
// last of every 16. All are padded to a multiple of 16.
struct Tree {
  int depth;
  std::int64_t start[kDepth];
  std::int64_t size;

  explicit Tree(std::int64_t count) : depth(0), size(0) {
    for (bool more = true; more; count = (count + kLanes - 1) / kLanes) {
      start[depth++] = size;
      size += (count + kLanes - 1) / kLanes * kLanes;
      more = count > kLanes && depth < kDepth;
    }
  }
};

struct Scratch {
  float* tree;           // (chunk, Tree::size)
  float* permuted;       // (chunk, 128) small distributions in the order of a binary search
  float* u;              // (chunk, vectors * 16)
  float* patch;          // (component)
  std::int32_t* spikes;  // (chunk, kBlock)
  float* epsilon;        // (chunk padded to 16, epsilon_width)
};

// Works on positions first ... last - 1, at most chunk() of them; false if a patch holds a bad value.
using ChunkFunction = bool (*)(const Problem&, const Scratch&, std::int64_t first, std::int64_t last);

namespace portable {
bool work(const Problem&, const Scratch&, std::int64_t first, std::int64_t last);
}
namespace avx2 {
bool work(const Problem&, const Scratch&, std::int64_t first, std::int64_t last);
}
namespace avx512 {
bool work(const Problem&, const Scratch&, std::int64_t first, std::int64_t last);
}

}  // namespace sbs
