// Runs the core without Python, for the sanitizers: every instruction set, several thread counts, all spike
// sources, odd sizes; results must be equal bit for bit. Arrays of wrong shapes are refused.
#include <cstdio>
#include <stdexcept>
#include <vector>

#include "common/isa.hpp"
#include "inputs.hpp"
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

// The arrays of one case and the views of them that a caller hands over.
struct Arrays {
  explicit Arrays(const Case& c)
      : geometry{c.kernel, c.kernel, c.stride, c.stride, c.dilation, c.dilation, c.padding, c.padding} {
    const std::int64_t area = c.size * c.size,
                       out = (c.size + 2 * c.padding - c.dilation * (c.kernel - 1) - 1) / c.stride + 1;
    const std::int64_t components = c.channels * c.kernel * c.kernel;
    image = random_vector(c.samples * c.channels * area, 0.0F);
    for (std::int64_t k = 0; k < c.channels * area; ++k)
      image[static_cast<std::size_t>(k)] *= c.samples > 1 ? 0.0F : 1.0F;
    weights = random_vector(components * c.neurons, 0.5F);
    for (float& weight : weights) weight /= static_cast<float>(components);
    start.assign(static_cast<std::size_t>(c.neurons), 1.0F / static_cast<float>(c.neurons));
    epsilon_t = random_vector(c.spikes, 0.2F);
    const std::int64_t width = c.wide_epsilon ? c.kernel * c.kernel : 1;
    epsilon_xy = random_vector(out * out * width, 0.1F);
    in.image = {
        image.data(), {c.samples, c.channels, c.size, c.size}, {4 * c.channels * area, 4 * area, 4 * c.size, 4}};
    in.weights = {weights.data(), {components, c.neurons}, {}};
    in.h_initial = {start.data(), {c.neurons}, {}};
    in.epsilon_t = {epsilon_t.data(), {c.spikes}, {}};
    in.epsilon_xy = {epsilon_xy.data(), {out, out}, {}};
    if (c.wide_epsilon) in.epsilon_xy.shape = {out, out, c.kernel, c.kernel};
    trains = {c.samples, c.spikes, out, out};
  }
  std::vector<float> image, weights, start, epsilon_t, epsilon_xy;
  std::vector<std::int64_t> trains;
  sbs::GeometryNumbers geometry;
  sbs::Inputs in;
};

bool refused(const sbs::Inputs& in, const sbs::GeometryNumbers& geometry, bool pooling) {
  try {
    const sbs::Prepared prepared(in, geometry, pooling, 0.0F);
  } catch (const std::invalid_argument&) {
    return true;
  }
  return false;
}

// Every axis of every array one longer, one shorter, missing and added, and impossible geometries: refused before
// anything is read.
bool check_wrong_shapes(const Case& c) {
  const Arrays right(c);
  std::vector<float> uniform =
      random_vector(right.trains[0] * right.trains[1] * right.trains[2] * right.trains[3], 0.0F);
  std::vector<std::int32_t> spikes(uniform.size(), 0);
  const sbs::View drawn{uniform.data(), right.trains, {}}, given{spikes.data(), right.trains, {}};
  sbs::Inputs full = right.in;
  full.uniform = drawn;
  full.spikes = given;
  bool good = !refused(full, right.geometry, c.pooling);
  const auto wrong = [&](auto member, std::size_t axes = 4) {
    sbs::Inputs in = full;
    sbs::View& view = member(in);
    const sbs::View before = view;
    for (std::size_t axis = 0; axis < before.shape.size() && axis < axes; ++axis)
      for (const std::int64_t change : {-1, 1}) {
        view.shape[axis] += change;
        good = good && refused(in, right.geometry, c.pooling);
        view = before;
      }
    view.shape.push_back(1);
    if (!view.stride.empty()) view.stride.push_back(4);
    good = good && refused(in, right.geometry, c.pooling);
    view.shape.clear();
    view.stride.clear();
    good = good && refused(in, right.geometry, c.pooling);
    view = before;
    view.data = static_cast<const char*>(before.data) + 1;
    good = good && refused(in, right.geometry, c.pooling);
  };
  wrong([](sbs::Inputs& in) -> sbs::View& { return in.image; },
        c.stride > 1 ? 2 : 4);  // a stride may skip the last row
  wrong([](sbs::Inputs& in) -> sbs::View& { return in.weights; });
  wrong([](sbs::Inputs& in) -> sbs::View& { return in.h_initial; });
  wrong([](sbs::Inputs& in) -> sbs::View& { return in.epsilon_t; });
  wrong([](sbs::Inputs& in) -> sbs::View& { return in.epsilon_xy; });
  wrong([](sbs::Inputs& in) -> sbs::View& { return *in.uniform; });
  wrong([](sbs::Inputs& in) -> sbs::View& { return *in.spikes; });
  for (std::size_t k = 0; k < right.geometry.size(); ++k)
    for (const std::int64_t number : {std::int64_t{-1}, INT64_MIN, INT64_MAX, std::int64_t{1} << 62}) {
      sbs::GeometryNumbers geometry = right.geometry;
      geometry[k] = number;
      good = good && refused(full, geometry, c.pooling);
    }
  uniform.back() = 1.0F;
  good = good && refused(full, right.geometry, c.pooling);
  uniform.back() = 0.0F;
  spikes.back() = static_cast<std::int32_t>(c.channels * c.kernel * c.kernel);
  return good && refused(full, right.geometry, c.pooling);
}

bool check(const Case& c) {
  Arrays arrays(c);
  std::vector<float>& image = arrays.image;
  sbs::Prepared prepared(arrays.in, arrays.geometry, c.pooling, c.forgetting);
  sbs::Problem& p = prepared.problem;
  p.seed = 0x123456789ABCDEFULL;
  std::vector<std::int32_t> kept(static_cast<std::size_t>(p.positions() * c.spikes));
  if (c.keep) p.kept = kept.data();
  std::vector<float> first, h(static_cast<std::size_t>(p.positions() * c.neurons));
  p.h = h.data();
  bool equal = true;
  for (const std::string& isa : core::all_isa())
    for (int threads : {1, 2, 4, 8}) {
      if (!sbs::run(p, threads, isa)) return false;
      if (first.empty()) first = h;
      equal = equal && first == h;
    }
  if (!c.keep) return equal;
  // The kept spikes, given back, lead to the same h; so do uniforms with both rules run without error.
  p.kept = nullptr;
  p.given = kept.data();
  if (!sbs::run(p, 4, core::isa())) return false;
  equal = equal && first == h;
  p.given = nullptr;
  std::vector<float> uniform = random_vector(p.positions() * c.spikes, 0.0F);
  p.uniform = uniform.data();
  for (const bool lower : {false, true}) {
    p.lower = lower;
    if (!sbs::run(p, 4, core::isa())) return false;
  }
  p.uniform = nullptr;
  image.back() = -1.0F;
  return equal && !sbs::run(p, 4, core::isa());
}

}  // namespace

int main() {
  const Case cases[] = {
      {3, 2, 9, 5, 32, 130, 1, 1, 0, false, false, false, 0.0F},
      {2, 3, 7, 3, 10, 65, 2, 1, 1, false, false, true, 0.0F},
      {2, 3, 7, 3, 10, 65, 1, 2, 2, false, true, true, 0.2F},
      {2, 40, 5, 2, 64, 64, 1, 1, 0, false, false, true, 0.0F},
      {3, 20, 6, 2, 20, 200, 2, 1, 0, true, false, false, 0.0F},
      {3, 20, 6, 2, 20, 70, 2, 1, 0, true, true, true, 0.0F},
      {5, 4, 3, 3, 300, 40, 1, 1, 0, false, false, true, 0.0F},
      {9, 300, 1, 1, 7, 33, 1, 1, 0, false, false, false, 0.1F},
      {1, 1, 1, 1, 1, 1, 1, 1, 0, false, false, true, 0.0F},
  };
  int failed = 0, number = 0;
  for (const Case& c : cases) {
    const bool good = check(c) && check_wrong_shapes(c);
    std::printf("case %d: %s\n", number++, good ? "ok" : "FAILED");
    failed += good ? 0 : 1;
  }
  return failed;
}
