// Cutting the patch of one position out of the image.
#pragma once

#include "problem.hpp"

namespace sbs {
namespace {

struct Place {
  std::int64_t sample, x, y;
};

inline Place place_of(const Geometry& g, std::int64_t position) {
  const std::int64_t area = g.out[0] * g.out[1];
  const std::int64_t rest = position % area;
  return {position / area, rest / g.out[1], rest % g.out[1]};
}

// Component i = (c * k0 + a) * k1 + b; outside the image it is 0.
inline void cut_patch(const Geometry& g, const float* image, const std::int64_t* offset, std::int64_t components,
                      std::int64_t position, float* patch) {
  const Place place = place_of(g, position);
  const std::int64_t row = place.x * g.stride[0] - g.padding[0];
  const std::int64_t column = place.y * g.stride[1] - g.padding[1];
  const float* base = image + place.sample * g.step[0] + row * g.step[2] + column * g.step[3];
  const bool inside = row >= 0 && column >= 0 && row + g.dilation[0] * (g.kernel[0] - 1) < g.size[0] &&
                      column + g.dilation[1] * (g.kernel[1] - 1) < g.size[1];
  if (inside) {
    for (std::int64_t i = 0; i < components; ++i) patch[i] = base[offset[i]];
    return;
  }
  std::int64_t i = 0;
  for (std::int64_t c = 0; c < g.channels; ++c)
    for (std::int64_t a = 0; a < g.kernel[0]; ++a)
      for (std::int64_t b = 0; b < g.kernel[1]; ++b, ++i) {
        const std::int64_t r = row + a * g.dilation[0];
        const std::int64_t q = column + b * g.dilation[1];
        const bool seen = r >= 0 && q >= 0 && r < g.size[0] && q < g.size[1];
        patch[i] = seen ? image[place.sample * g.step[0] + c * g.step[1] + r * g.step[2] + q * g.step[3]] : 0.0F;
      }
}

}  // namespace
}  // namespace sbs
