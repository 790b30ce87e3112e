#include "loops.hpp"

#include <algorithm>
#include <cstring>

#include "find_spikes.hpp"
#include "update_run.hpp"

namespace nalsm::CORE_ISA {
namespace {

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

#if defined(__AVX512F__)
constexpr std::int32_t width = 16;
#elif defined(__AVX2__)
constexpr std::int32_t width = 8;
#else
constexpr std::int32_t width = 4;
#endif
using Vector [[gnu::vector_size(4 * width)]] = float;

// `Vectors` vectors of currents stay in registers over all rows; returns where the next ones begin.
template <int Vectors>
std::int32_t add_panels(std::int32_t i, float* __restrict current, const float* __restrict table, std::int32_t count,
                        const std::int32_t* __restrict row, const float* __restrict jump, std::size_t rows) {
  for (; i + Vectors * width <= count; i += Vectors * width) {
    Vector sum[Vectors], w;
    for (int v = 0; v < Vectors; ++v) std::memcpy(&sum[v], current + i + v * width, sizeof w);
    for (std::size_t s = 0; s < rows; ++s) {
      const float* weights = table + static_cast<std::size_t>(row[s]) * static_cast<std::size_t>(count) + i;
      for (int v = 0; v < Vectors; ++v) {
        std::memcpy(&w, weights + v * width, sizeof w);
        sum[v] += w * jump[s];
      }
    }
    for (int v = 0; v < Vectors; ++v) std::memcpy(current + i + v * width, &sum[v], sizeof w);
  }
  return i;
}

void add_rows(float* __restrict current, const float* __restrict table, std::int32_t count,
              const std::int32_t* __restrict row, const float* __restrict jump, std::size_t rows) {
  std::int32_t i = add_panels<8>(0, current, table, count, row, jump, rows);
  i = add_panels<4>(i, current, table, count, row, jump, rows);
  i = add_panels<1>(i, current, table, count, row, jump, rows);
  for (std::size_t s = 0; i < count && s < rows; ++s) {
    const float* weights = table + static_cast<std::size_t>(row[s]) * static_cast<std::size_t>(count);
    for (std::int32_t k = i; k < count; ++k) current[k] += weights[k] * jump[s];
  }
}

void leak_and_add(float* __restrict potential, const float* __restrict current, std::int32_t count, float leak) {
  for (std::int32_t i = 0; i < count; ++i) potential[i] = potential[i] + current[i] - potential[i] * leak;
}

void fade(float* __restrict potential, std::int32_t count, float leak) {
  for (std::int32_t i = 0; i < count; ++i) potential[i] = potential[i] - potential[i] * leak;
}

void scale(float* __restrict values, std::int32_t count, float factor) {
  for (std::int32_t i = 0; i < count; ++i) values[i] *= factor;
}

void next_current(float* __restrict current, float* __restrict later, std::int32_t count, float factor) {
  for (std::int32_t i = 0; i < count; ++i) {
    current[i] = (current[i] + later[i]) * factor;
    later[i] = 0.f;
  }
}

void multiply(float* __restrict out, const float* __restrict gate, const float* __restrict values, std::int32_t count,
              float factor) {
  for (std::int32_t i = 0; i < count; ++i) out[i] = factor * gate[i] * values[i];
}

void lose_calcium(float* __restrict calcium, std::int32_t count, float tau) {
  for (std::int32_t i = 0; i < count; ++i) calcium[i] = calcium[i] - calcium[i] / tau;
}

}  // namespace

extern const Loops loops;
const Loops loops = {update_column, deliver,      add_rows, leak_and_add, fade,      find_spikes,
                     scale,         next_current, multiply, lose_calcium, update_run};

}  // namespace nalsm::CORE_ISA
