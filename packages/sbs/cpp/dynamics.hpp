// From spikes to h, sixteen positions side by side. Included after one vector header.
//
// u = h * scale is kept instead of h. Per spike: d = sum_j u_j w_j; if d > threshold then
// u_j += scale eps (u_j w_j / d + f / J) and scale += scale eps (1 + f).
#pragma once

#include <cstddef>

#include "problem.hpp"

namespace sbs {
namespace {

struct Group {
  float* u;                    // (active, vectors * 16)
  const std::int32_t* spikes;  // (active, kBlock)
  const float* epsilon;        // (16, epsilon_width)
  int active;                  // positions in use, at most 16
  F16 scale;
  F16 length;  // spikes a position still uses, counted from the start
  alignas(64) float change[kLanes];
  F16 step;
};

// Vectors = 0: their number is known at run time only.
template <int Vectors>
inline const float* row(const Problem& p, const Group& g, int lane, int t) {
  const std::int64_t width = (Vectors > 0 ? Vectors : p.vectors) * kLanes;
  return p.weights + static_cast<std::ptrdiff_t>(g.spikes[lane * kBlock + t]) * width;
}

template <int Vectors>
inline F16 products(const float* u, const float* w, std::int64_t vectors) {
  if constexpr (Vectors == 1) {
    return load(u) * load(w);
  } else if constexpr (Vectors == 2) {
    return load(u) * load(w) + load(u + 16) * load(w + 16);
  } else {
    const std::int64_t count = Vectors > 0 ? Vectors : vectors;
    F16 part[4] = {all(0.0F), all(0.0F), all(0.0F), all(0.0F)};
    std::int64_t v = 0;
    for (; v + 4 <= count; v += 4)
      for (int k = 0; k < 4; ++k) part[k] = part[k] + load(u + 16 * (v + k)) * load(w + 16 * (v + k));
    for (; v < count; ++v) part[0] = part[0] + load(u + 16 * v) * load(w + 16 * v);
    return (part[0] + part[1]) + (part[2] + part[3]);
  }
}

inline void rescale(const Problem& p, Group& g) {
  alignas(64) float scale[kLanes];
  store(scale, g.scale);
  for (int lane = 0; lane < g.active; ++lane) {
    if (!(scale[lane] > kRescale)) continue;
    float* u = g.u + lane * p.vectors * kLanes;
    for (std::int64_t v = 0; v < p.vectors; ++v) store(u + 16 * v, load(u + 16 * v) / all(scale[lane]));
    scale[lane] = 1.0F;
  }
  g.scale = load(scale);
}

inline F16 epsilon_of(const Problem& p, const Group& g, int t) {
  if (p.epsilon_width == 1) return load(g.epsilon);
  alignas(64) float value[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    const std::int64_t place = lane < g.active ? g.spikes[lane * kBlock + t] % p.epsilon_width : 0;
    value[lane] = g.epsilon[lane * p.epsilon_width + place];
  }
  return load(value);
}

// Likelihood of every position's spike, and the step it allows.
template <int Vectors, bool Forget>
inline void look(const Problem& p, Group& g, int t, std::int64_t time) {
  if (any_greater(g.scale, all(kRescale))) rescale(p, g);
  F16 product[kLanes];
  if constexpr (Vectors > 0) {
#pragma GCC unroll 16
    for (int lane = 0; lane < kLanes; ++lane)
      product[lane] = products<Vectors>(g.u + lane * Vectors * kLanes, row<Vectors>(p, g, lane, t), p.vectors);
  } else {
    for (int lane = 0; lane < kLanes; ++lane)
      product[lane] =
          lane < g.active ? products<0>(g.u + lane * p.vectors * kLanes, row<0>(p, g, lane, t), p.vectors) : all(0.0F);
  }
  const F16 d = sums(product);
  F16 step = g.scale * (epsilon_of(p, g, t) * all(p.epsilon_t[time]));
  step = where_greater(d, all(kThreshold), where_greater(g.length, all(static_cast<float>(time)), step));
  store(g.change, where_greater(d, all(kThreshold), step / d));
  g.step = step;
  g.scale = g.scale + (Forget ? step * all(1.0F + p.forgetting) : step);
}

template <int Vectors, bool Forget>
inline void learn(const Problem& p, Group& g, int t) {
  alignas(64) float step[kLanes];
  if constexpr (Forget) store(step, g.step);
  const int lanes = Vectors > 0 ? kLanes : g.active;
  const std::int64_t count = Vectors > 0 ? Vectors : p.vectors;
#pragma GCC unroll 4
  for (int lane = 0; lane < lanes; ++lane) {
    float* u = g.u + lane * count * kLanes;
    const float* w = row<Vectors>(p, g, lane, t);
    const F16 change = all(g.change[lane]);
#pragma GCC unroll 4
    for (std::int64_t v = 0; v < count; ++v) {
      const F16 old = load(u + 16 * v);
      F16 added = old + old * (load(w + 16 * v) * change);
      if constexpr (Forget) added = added + all(step[lane]) * load(p.uniform_pull + 16 * v);
      store(u + 16 * v, added);
    }
  }
}

template <int Vectors, bool Forget>
inline void iterate(const Problem& p, Group* groups, int number, std::int64_t first, int count) {
  if (number == 2) {
    for (int t = 0; t < count; ++t) {
      look<Vectors, Forget>(p, groups[0], t, first + t);
      look<Vectors, Forget>(p, groups[1], t, first + t);
      learn<Vectors, Forget>(p, groups[0], t);
      learn<Vectors, Forget>(p, groups[1], t);
    }
    return;
  }
  for (int t = 0; t < count; ++t) {
    look<Vectors, Forget>(p, groups[0], t, first + t);
    learn<Vectors, Forget>(p, groups[0], t);
  }
}

template <bool Forget>
inline void iterate(const Problem& p, Group* groups, int number, std::int64_t first, int count) {
  switch (p.vectors) {
    case 1:
      return iterate<1, Forget>(p, groups, number, first, count);
    case 2:
      return iterate<2, Forget>(p, groups, number, first, count);
    case 3:
      return iterate<3, Forget>(p, groups, number, first, count);
    case 4:
      return iterate<4, Forget>(p, groups, number, first, count);
    default:
      return iterate<0, Forget>(p, groups, number, first, count);
  }
}

constexpr int kPooled = 4;  // positions pooled side by side, to fill the time each waits for its own scale

struct Pooled {
  float* u;
  const std::int32_t* spikes;
  const float* epsilon;
  float scale;
};

// Pooling: a spike of channel c touches u_c alone, by scale eps. A negative spike is not a spike. ByChannel: spikes
// are channels and epsilon does not depend on them.
template <int Number, bool ByChannel>
inline void pool(const Problem& p, Pooled* group, std::int64_t first, int count) {
  const auto size = static_cast<std::int32_t>(p.kernel_size());
  const float weight = 1.0F / static_cast<float>(size);
  float* u[Number];
  const std::int32_t* spikes[Number];
  float scale[Number], epsilon[Number];
  for (int k = 0; k < Number; ++k) {
    u[k] = group[k].u;
    spikes[k] = group[k].spikes;
    scale[k] = group[k].scale;
    epsilon[k] = group[k].epsilon[0];
  }
  for (int t = 0; t < count; ++t) {
    const float rate = p.epsilon_t[first + t];
#pragma GCC unroll 4
    for (int k = 0; k < Number; ++k) {
      const std::int32_t spike = spikes[k][t];
      if (spike < 0) continue;
      if (scale[k] > kRescale) {
        for (std::int64_t c = 0; c < p.neurons; ++c) u[k][c] /= scale[k];
        scale[k] = 1.0F;
      }
      const std::int32_t channel = ByChannel ? spike : spike / size;
      const float here = ByChannel || p.epsilon_width == 1 ? epsilon[k] : group[k].epsilon[spike % size];
      const float step = scale[k] * (here * rate);
      if (u[k][channel] * weight > kThreshold) {
        u[k][channel] += step;
        scale[k] += step;
      }
    }
  }
  for (int k = 0; k < Number; ++k) group[k].scale = scale[k];
}

template <int Number>
inline void pool(const Problem& p, Pooled* group, std::int64_t first, int count) {
  if (p.by_channel())
    pool<Number, true>(p, group, first, count);
  else
    pool<Number, false>(p, group, first, count);
}

}  // namespace
}  // namespace sbs
