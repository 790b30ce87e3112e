#include "loops.hpp"

#include <algorithm>
#include <cstring>

#include "targets.hpp"

namespace nalsm {

void update_column(float* __restrict weights, const std::int32_t* __restrict synapse,
                   const std::int32_t* __restrict post, std::int32_t count, const float* __restrict term, float jump,
                   float fresh, float low, float high, float* __restrict current, float* __restrict later) {
  for (std::int32_t k = 0; k < count; ++k) {
    const std::int32_t i = post[k];
    const float before = weights[synapse[k]];
    const float after = std::min(std::max(before + term[i], low), high);
    current[i] += before * jump;
    weights[synapse[k]] = after;
    later[i] += (after - before) * fresh;
  }
}

void deliver(float* __restrict current, const float* __restrict weights, const std::int32_t* __restrict post,
             std::int32_t count, float jump) {
  for (std::int32_t k = 0; k < count; ++k) current[post[k]] += weights[k] * jump;
}

NALSM_VECTOR void add_rows(float* __restrict current, const float* __restrict table, std::int32_t count,
                           const std::int32_t* __restrict row, const float* __restrict jump, std::size_t rows) {
  constexpr std::int32_t width = 16, stretch = 4 * width;
  using Vector [[gnu::vector_size(4 * width)]] = float;
  std::int32_t i = 0;
  for (; i + stretch <= count; i += stretch) {
    Vector a, b, c, d, w;
    std::memcpy(&a, current + i, sizeof a);
    std::memcpy(&b, current + i + width, sizeof b);
    std::memcpy(&c, current + i + 2 * width, sizeof c);
    std::memcpy(&d, current + i + 3 * width, sizeof d);
    for (std::size_t s = 0; s < rows; ++s) {
      const float* weights = table + static_cast<std::size_t>(row[s]) * static_cast<std::size_t>(count) + i;
      std::memcpy(&w, weights, sizeof w);
      a += w * jump[s];
      std::memcpy(&w, weights + width, sizeof w);
      b += w * jump[s];
      std::memcpy(&w, weights + 2 * width, sizeof w);
      c += w * jump[s];
      std::memcpy(&w, weights + 3 * width, sizeof w);
      d += w * jump[s];
    }
    std::memcpy(current + i, &a, sizeof a);
    std::memcpy(current + i + width, &b, sizeof b);
    std::memcpy(current + i + 2 * width, &c, sizeof c);
    std::memcpy(current + i + 3 * width, &d, sizeof d);
  }
  for (std::size_t s = 0; s < rows; ++s) {
    const float* weights = table + static_cast<std::size_t>(row[s]) * static_cast<std::size_t>(count);
    for (std::int32_t k = i; k < count; ++k) current[k] += weights[k] * jump[s];
  }
}

NALSM_VECTOR void leak_and_add(float* __restrict potential, const float* __restrict current, std::int32_t count,
                               float leak) {
  for (std::int32_t i = 0; i < count; ++i) potential[i] = potential[i] + current[i] - potential[i] * leak;
}

NALSM_VECTOR void fade(float* __restrict potential, std::int32_t count, float leak) {
  for (std::int32_t i = 0; i < count; ++i) potential[i] = potential[i] - potential[i] * leak;
}

NALSM_VECTOR void mark_spikes(const float* __restrict potential, float* __restrict refractory,
                              std::uint8_t* __restrict spiked, std::int32_t count, float threshold, float pause) {
  for (std::int32_t i = 0; i < count; ++i) {
    const bool fires = potential[i] >= threshold && refractory[i] <= 0.f;
    spiked[i] = fires;
    refractory[i] = fires ? pause : refractory[i] - 1.f;
  }
}

NALSM_VECTOR void scale(float* __restrict values, std::int32_t count, float factor) {
  for (std::int32_t i = 0; i < count; ++i) values[i] *= factor;
}

NALSM_VECTOR void next_current(float* __restrict current, float* __restrict later, std::int32_t count, float factor) {
  for (std::int32_t i = 0; i < count; ++i) {
    current[i] = (current[i] + later[i]) * factor;
    later[i] = 0.f;
  }
}

NALSM_VECTOR void multiply(float* __restrict out, const float* __restrict gate, const float* __restrict values,
                           std::int32_t count, float factor) {
  for (std::int32_t i = 0; i < count; ++i) out[i] = factor * gate[i] * values[i];
}

NALSM_VECTOR void collect_calcium(float* __restrict calcium, const std::uint8_t* __restrict spiked, std::int32_t count,
                                  float tau) {
  for (std::int32_t i = 0; i < count; ++i) calcium[i] = calcium[i] - calcium[i] / tau + static_cast<float>(spiked[i]);
}

}  // namespace nalsm
