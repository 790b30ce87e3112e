// What the bindings ask of numbers and arrays before any memory is touched. Types and contiguity are asked for by the
// arguments themselves: an array_t with noconvert() takes no other array.
#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>

#include "packing.hpp"
#include "weights.hpp"

namespace dalton {

[[noreturn]] inline void refuse(const std::string& what) { throw std::invalid_argument("dalton kernel: " + what); }

// The product, which no array can be as large as where it does not fit.
inline Index product(std::initializer_list<Index> factors) {
  Index result = 1;
  for (const Index factor : factors) {
    if (factor < 1) refuse("sizes are 1 or more");
    if (result > INT64_MAX / factor) refuse("sizes are too large");
    result *= factor;
  }
  return result;
}

inline std::string written(std::initializer_list<Index> axes, Index rest) {
  std::string text = "(";
  for (const Index axis : axes) text += std::to_string(axis) + ", ";
  return text + "... " + std::to_string(rest) + " values)";
}

// The first axes of an array are `axes`, each entry of which holds `rest` values.
template <class A>
void need(const A& array, const char* name, std::initializer_list<Index> axes, Index rest) {
  const Index entries = product(axes);
  bool fits = rest > 0 && entries <= INT64_MAX / rest && array.size() == entries * rest &&
              array.ndim() >= static_cast<pybind11::ssize_t>(axes.size());
  pybind11::ssize_t axis = 0;
  for (const Index length : axes) fits = fits && array.shape(axis++) == length;
  if (!fits) {
    std::string found;
    for (axis = 0; axis < array.ndim(); ++axis) found += (axis ? ", " : "") + std::to_string(array.shape(axis));
    refuse(std::string(name) + " has shape (" + found + "), not " + written(axes, rest));
  }
  if (reinterpret_cast<std::uintptr_t>(array.data()) % alignof(typename A::value_type))
    refuse(std::string(name) + " is not aligned");
}

// Numbers of a layer fit one another: every place that a kernel goes to is then inside of its arrays.
inline Geometry checked(const Geometry& g) {
  product({g.in_height, g.in_width, g.in_channels, 64});
  product({g.out_height, g.out_width, g.out_channels, 64});
  product({g.kernel_height, g.kernel_width, g.in_channels, g.out_channels, g.stride, g.depth, g.pool});
  const auto fits = [&g](Index in, Index kernel, Index out) {
    return kernel <= in && out == (in - kernel) / g.stride + 1;
  };
  if (!fits(g.in_height, g.kernel_height, g.out_height) || !fits(g.in_width, g.kernel_width, g.out_width))
    refuse("the output's size is not that of the convolution");
  if (g.depth > g.out_channels) refuse("there are more output channels than room for them");
  if (g.pool > 16) refuse("a switch numbers windows of up to 16 x 16");
  if (g.pool > g.out_height || g.pool > g.out_width) refuse("the max-pool's window is larger than the maps");
  if (g.rows() > INT32_MAX) refuse("a neuron has too many inputs");
  return g;
}

inline Extent checked(const Extent& e) {
  product({e.steps, e.batch, e.threads});
  return e;
}

inline Maps checked(const Maps& m) {
  product({m.height, m.width, m.channels, m.padded, 64});
  if (m.channels > m.padded) refuse("there are more channels than room for them");
  return m;
}

inline Fold checked(const Fold& f) {
  product({f.height, f.width, f.stride, f.pool, f.stride, f.pool, f.in_padded, f.out_padded});
  product({f.folded_height(), f.folded_width(), f.in_padded, f.out_padded});
  if (product({f.in}) > f.in_padded || product({f.out}) > f.out_padded)
    refuse("there are more channels than room for them");
  return f;
}

}  // namespace dalton
