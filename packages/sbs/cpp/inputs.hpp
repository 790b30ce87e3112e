// What a caller hands over, checked before a pointer is followed. Nothing of Python is here, so that the sanitizers
// run it with wrong shapes too.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "problem.hpp"

namespace sbs {

// An array of 4-byte entries. All but images are contiguous, in C order.
struct View {
  const void* data = nullptr;
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> stride;  // in bytes; empty: contiguous
};

// Kernel, stride, dilation and padding, two axes each.
using GeometryNumbers = std::array<std::int64_t, 8>;

struct Inputs {
  View image;                           // (sample, channel, height, width)
  View weights;                         // (component, neuron)
  View h_initial;                       // (neuron)
  View epsilon_t;                       // (spike)
  View epsilon_xy;                      // (X, Y) or (X, Y, k0, k1)
  std::optional<View> uniform, spikes;  // (sample, spike, X, Y)
};

inline void require(bool condition, const std::string& what) {
  if (!condition) throw std::invalid_argument("sbs kernel: " + what);
}

inline std::string shown(const std::vector<std::int64_t>& shape) {
  std::string text = "(";
  for (std::size_t axis = 0; axis < shape.size(); ++axis) text += (axis > 0 ? ", " : "") + std::to_string(shape[axis]);
  return text + ")";
}

inline void require_shape(const View& view, const std::vector<std::int64_t>& shape, const std::string& name,
                          const std::string& axes) {
  require(view.shape == shape, name + " has shape " + shown(view.shape) + ", " + axes + " is " + shown(shape));
}

// The 4-byte entries of a view; they must lie at multiples of 4 bytes.
template <class T>
const T* entries(const View& view, const std::string& name) {
  static_assert(sizeof(T) == 4);
  bool aligned = reinterpret_cast<std::uintptr_t>(view.data) % sizeof(T) == 0;
  for (std::size_t axis = 0; axis < view.stride.size(); ++axis)
    aligned = aligned && (view.shape[axis] < 2 || view.stride[axis] % static_cast<std::int64_t>(sizeof(T)) == 0);
  require(aligned, name + " is not aligned to its 4-byte entries; hand over a copy");
  return static_cast<const T*>(view.data);
}

inline Geometry read_geometry(const View& image, const GeometryNumbers& numbers) {
  constexpr std::int64_t most = std::int64_t{1} << 24;  // far above any image; products of three stay in 64 bits
  require(image.shape.size() == 4 && image.stride.size() == 4,
          "image has shape " + shown(image.shape) + ", it must be (sample, channel, height, width)");
  Geometry g{};
  for (std::size_t axis = 0; axis < 2; ++axis) {
    g.kernel[axis] = numbers[axis];
    g.stride[axis] = numbers[2 + axis];
    g.dilation[axis] = numbers[4 + axis];
    g.padding[axis] = numbers[6 + axis];
    g.size[axis] = image.shape[2 + axis];
    for (const std::int64_t number : {g.kernel[axis], g.stride[axis], g.dilation[axis]})
      require(number >= 1 && number <= most, "kernel, stride and dilation must be 1 or more");
    require(g.padding[axis] >= 0 && g.padding[axis] <= most, "padding must be 0 or more");
    const std::int64_t room = g.size[axis] + 2 * g.padding[axis] - g.dilation[axis] * (g.kernel[axis] - 1) - 1;
    require(room >= 0, "the kernel does not fit the image");
    g.out[axis] = room / g.stride[axis] + 1;
  }
  g.samples = image.shape[0];
  g.channels = image.shape[1];
  for (std::size_t axis = 0; axis < 4; ++axis) g.step[axis] = image.stride[axis] / 4;
  require(g.channels <= most && g.kernel_size() * g.channels <= most, "a patch has too many components");
  return g;
}

inline std::vector<std::int64_t> component_offsets(const Geometry& g) {
  std::vector<std::int64_t> offset;
  for (std::int64_t c = 0; c < g.channels; ++c)
    for (std::int64_t a = 0; a < g.kernel[0]; ++a)
      for (std::int64_t b = 0; b < g.kernel[1]; ++b)
        offset.push_back(c * g.step[1] + a * g.dilation[0] * g.step[2] + b * g.dilation[1] * g.step[3]);
  return offset;
}

// Memory that starts at a cache line, which vector loads need for their full speed.
template <class T>
struct Aligned {
  using value_type = T;
  Aligned() = default;
  template <class U>
  explicit Aligned(const Aligned<U>&) {}
  T* allocate(std::size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t{64})); }
  void deallocate(T* pointer, std::size_t) { ::operator delete(pointer, std::align_val_t{64}); }
  bool operator==(const Aligned&) const { return true; }
  bool operator!=(const Aligned&) const { return false; }
};
using Rows = std::vector<float, Aligned<float>>;

inline Rows padded(const float* values, std::int64_t rows, std::int64_t from, std::int64_t to) {
  Rows out(static_cast<std::size_t>(rows * to), 0.0F);
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t j = 0; j < from; ++j) out[static_cast<std::size_t>(r * to + j)] = values[r * from + j];
  return out;
}

// A problem with the memory it needs besides what the caller keeps alive. The caller adds where h and spikes go.
class Prepared {
 public:
  Prepared(const Inputs& in, const GeometryNumbers& geometry, bool one_hot, float forgetting) {
    Problem& p = problem;
    p.geometry = read_geometry(in.image, geometry);
    const Geometry& g = p.geometry;
    p.image = entries<float>(in.image, "image");
    p.components = g.channels * g.kernel_size();
    require(in.weights.shape.size() == 2 && in.weights.shape[0] == p.components && in.weights.shape[1] > 0,
            "weights have shape " + shown(in.weights.shape) + ", (component, neuron) begins with " +
                std::to_string(p.components));
    p.neurons = in.weights.shape[1];
    require(p.components > 0, "the image has no channels");
    require_shape(in.h_initial, {p.neurons}, "h_initial", "(neuron)");
    require(in.epsilon_t.shape.size() == 1 && in.epsilon_t.shape[0] > 0, "epsilon_t must be (spike), at least one");
    require(!one_hot || p.neurons == g.channels, "pooling needs as many neurons as channels");
    const std::vector<std::int64_t> place = {g.out[0], g.out[1]};
    const std::vector<std::int64_t> element = {g.out[0], g.out[1], g.kernel[0], g.kernel[1]};
    if (in.epsilon_xy.shape != place) require_shape(in.epsilon_xy, element, "epsilon_xy", "(X, Y) or (X, Y, k0, k1)");
    p.epsilon_width = in.epsilon_xy.shape == place ? 1 : g.kernel_size();
    p.epsilon_xy = entries<float>(in.epsilon_xy, "epsilon_xy");
    p.epsilon_t = entries<float>(in.epsilon_t, "epsilon_t");
    p.spikes = in.epsilon_t.shape[0];
    p.one_hot = one_hot && !(forgetting > 0.0F);
    p.forgetting = forgetting;
    take_trains(in);
    take_weights(entries<float>(in.weights, "weights"), entries<float>(in.h_initial, "h_initial"));
    offset_ = component_offsets(g);
    p.offset = offset_.data();
  }
  Prepared(const Prepared&) = delete;
  Prepared& operator=(const Prepared&) = delete;

  Problem problem{};

 private:
  void take_weights(const float* weights, const float* h_initial) {
    Problem& p = problem;
    p.vectors = (p.neurons + kLanes - 1) / kLanes;
    const std::int64_t width = p.vectors * kLanes;
    const bool apart = reinterpret_cast<std::uintptr_t>(weights) % 64 != 0;
    if (!p.one_hot && (width != p.neurons || apart)) wide_ = padded(weights, p.components, p.neurons, width);
    start_ = padded(h_initial, 1, p.neurons, width);
    pull_.assign(static_cast<std::size_t>(width), 0.0F);
    for (std::int64_t j = 0; j < p.neurons; ++j)
      pull_[static_cast<std::size_t>(j)] = p.forgetting / static_cast<float>(p.neurons);
    p.weights = wide_.empty() ? weights : wide_.data();
    p.h_initial = start_.data();
    p.uniform_pull = pull_.data();
  }

  void take_trains(const Inputs& in) {
    Problem& p = problem;
    const std::vector<std::int64_t> shape = {p.geometry.samples, p.spikes, p.geometry.out[0], p.geometry.out[1]};
    const std::int64_t count = p.positions() * p.spikes;
    if (in.uniform) {
      require_shape(*in.uniform, shape, "uniform", "(sample, spike, X, Y)");
      p.uniform = entries<float>(*in.uniform, "uniform");
      bool inside = true;
      // A NaN, which recorded numbers of the original hold, is below every cumulative value: the first component.
      for (std::int64_t k = 0; k < count; ++k) inside = inside && !(p.uniform[k] < 0.0F) && !(p.uniform[k] >= 1.0F);
      require(inside, "uniform holds a value outside 0 <= u < 1");
    }
    if (in.spikes) {
      require_shape(*in.spikes, shape, "spikes", "(sample, spike, X, Y)");
      p.given = entries<std::int32_t>(*in.spikes, "spikes");
      bool known = true;
      for (std::int64_t k = 0; k < count; ++k) known = known && p.given[k] < p.components;
      require(known, "a spike names a component that does not exist");
    }
  }

  std::vector<std::int64_t> offset_;
  Rows wide_, start_, pull_;
};

}  // namespace sbs
