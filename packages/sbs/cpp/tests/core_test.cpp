// Runs the core without Python, for the sanitizers: every instruction set, several thread counts, all spike
// sources, odd sizes; results must be equal bit for bit.
#include <cstdio>
#include <cstring>
#include <vector>

#include "run.hpp"

namespace {

struct Case {
  std::int64_t samples, channels, size, kernel, neurons, spikes;
  std::int64_t stride, dilation, padding;
  bool pooling, wide_epsilon, keep;
  float forgetting;
};

std::uint32_t state = 1;
float random_number() {
  state = state * 1664525U + 1013904223U;
  return static_cast<float>(state >> 8) * 0x1p-24F;
}

std::vector<float> random_vector(std::int64_t count, float least) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = least + random_number();
  return values;
}

bool check(const Case& c) {
  sbs::Problem p{};
  sbs::Geometry& g = p.geometry;
  g.samples = c.samples;
  g.channels = c.channels;
  for (int axis = 0; axis < 2; ++axis) {
    g.kernel[axis] = c.kernel;
    g.stride[axis] = c.stride;
    g.dilation[axis] = c.dilation;
    g.padding[axis] = c.padding;
    g.size[axis] = c.size;
    g.out[axis] = (c.size + 2 * c.padding - c.dilation * (c.kernel - 1) - 1) / c.stride + 1;
  }
  const std::int64_t steps[4] = {c.channels * c.size * c.size, c.size * c.size, c.size, 1};
  std::memcpy(g.step, steps, sizeof(steps));
  std::vector<float> image = random_vector(c.samples * steps[0], 0.0F);
  for (std::int64_t k = 0; k < steps[0]; ++k) image[static_cast<std::size_t>(k)] *= c.samples > 1 ? 0.0F : 1.0F;
  std::vector<std::int64_t> offset;
  for (std::int64_t ch = 0; ch < c.channels; ++ch)
    for (std::int64_t a = 0; a < c.kernel; ++a)
      for (std::int64_t b = 0; b < c.kernel; ++b)
        offset.push_back(ch * steps[1] + a * c.dilation * steps[2] + b * c.dilation * steps[3]);
  p.components = static_cast<std::int64_t>(offset.size());
  p.neurons = c.neurons;
  p.vectors = (c.neurons + sbs::kLanes - 1) / sbs::kLanes;
  const std::int64_t width = p.vectors * sbs::kLanes;
  std::vector<float> weights(static_cast<std::size_t>(p.components * width), 0.0F), start(static_cast<std::size_t>(width), 0.0F);
  std::vector<float> pull(static_cast<std::size_t>(width), 0.0F);
  for (std::int64_t j = 0; j < c.neurons; ++j) {
    for (std::int64_t i = 0; i < p.components; ++i)
      weights[static_cast<std::size_t>(i * width + j)] = (0.5F + random_number()) / static_cast<float>(p.components);
    start[static_cast<std::size_t>(j)] = 1.0F / static_cast<float>(c.neurons);
    pull[static_cast<std::size_t>(j)] = c.forgetting / static_cast<float>(c.neurons);
  }
  p.epsilon_width = c.wide_epsilon ? c.kernel * c.kernel : 1;
  const std::vector<float> epsilon_t = random_vector(c.spikes, 0.2F);
  const std::vector<float> epsilon_xy = random_vector(g.out[0] * g.out[1] * p.epsilon_width, 0.1F);
  p.image = image.data();
  p.offset = offset.data();
  p.weights = weights.data();
  p.h_initial = start.data();
  p.uniform_pull = pull.data();
  p.forgetting = c.forgetting;
  p.epsilon_t = epsilon_t.data();
  p.spikes = c.spikes;
  p.epsilon_xy = epsilon_xy.data();
  p.one_hot = c.pooling;
  p.seed = 0x123456789ABCDEFULL;
  std::vector<std::int32_t> kept(static_cast<std::size_t>(p.positions() * c.spikes));
  if (c.keep) p.kept = kept.data();
  std::vector<float> first, h(static_cast<std::size_t>(p.positions() * c.neurons));
  p.h = h.data();
  bool equal = true;
  for (const char* isa : {"portable", "avx2", "avx512"})
    for (int threads : {1, 2, 4, 8}) {
      if (!sbs::has_isa(isa)) continue;
      if (!sbs::run(p, threads, isa)) return false;
      if (first.empty()) first = h;
      equal = equal && first == h;
    }
  if (!c.keep) return equal;
  // The kept spikes, given back, lead to the same h; so do uniforms with both rules run without error.
  p.kept = nullptr;
  p.given = kept.data();
  if (!sbs::run(p, 4, "auto")) return false;
  equal = equal && first == h;
  p.given = nullptr;
  std::vector<float> uniform = random_vector(p.positions() * c.spikes, 0.0F);
  p.uniform = uniform.data();
  for (const bool lower : {false, true}) {
    p.lower = lower;
    if (!sbs::run(p, 4, "auto")) return false;
  }
  p.uniform = nullptr;
  image.back() = -1.0F;
  return equal && !sbs::run(p, 4, "auto");
}

}  // namespace

int main() {
  const Case cases[] = {
      {3, 2, 9, 5, 32, 130, 1, 1, 0, false, false, false, 0.0F}, {2, 3, 7, 3, 10, 65, 2, 1, 1, false, false, true, 0.0F},
      {2, 3, 7, 3, 10, 65, 1, 2, 2, false, true, true, 0.2F},    {2, 40, 5, 2, 64, 64, 1, 1, 0, false, false, true, 0.0F},
      {3, 20, 6, 2, 20, 200, 2, 1, 0, true, false, false, 0.0F}, {3, 20, 6, 2, 20, 70, 2, 1, 0, true, true, true, 0.0F},
      {5, 4, 3, 3, 300, 40, 1, 1, 0, false, false, true, 0.0F},  {9, 300, 1, 1, 7, 33, 1, 1, 0, false, false, false, 0.1F},
      {1, 1, 1, 1, 1, 1, 1, 1, 0, false, false, true, 0.0F},
  };
  int failed = 0, number = 0;
  for (const Case& c : cases) {
    const bool good = check(c);
    std::printf("case %d: %s\n", number++, good ? "ok" : "FAILED");
    failed += good ? 0 : 1;
  }
  return failed;
}
