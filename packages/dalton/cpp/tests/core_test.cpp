// Runs the kernels without Python, for the sanitizers: odd sizes, dropout, both resets, every instruction set and
// several thread counts. Sums are checked against plain loops, and all thread counts must give the same bits.
#include <cmath>
#include <cstdio>
#include <vector>

#include "dispatch.hpp"
#include "packing.hpp"

namespace {

using namespace dalton;

std::uint32_t state = 1;
std::uint32_t draw() {
  state = state * 1664525U + 1013904223U;
  return state >> 8;
}

template <class T>
std::vector<T> random_values(Index count) {
  std::vector<T> values(static_cast<std::size_t>(count));
  for (T& value : values) value = static_cast<T>(draw()) * T(0x1p-23) - T(0.9);
  return values;
}

// Spikes with a probability of about one third; words behind the units stay empty.
std::vector<Word> random_bits(Index images, Index units) {
  const Index words = Geometry::words(units);
  std::vector<Word> bits(static_cast<std::size_t>(images * words));
  for (Index image = 0; image < images; ++image)
    for (Index k = 0; k < units; ++k)
      bits[static_cast<std::size_t>(image * words + k / 64)] |= static_cast<Word>(draw() % 3 == 0) << (k % 64);
  return bits;
}

bool bit(const std::vector<Word>& bits, Index image, Index units, Index k) {
  return bits[static_cast<std::size_t>(image * Geometry::words(units) + k / 64)] >> (k % 64) & 1;
}

struct Case {
  Index in_height, in_width, in_channels, kernel, stride, depth, steps, batch;
  bool keep, hard, states;
  Index pool = 1;
};

template <class T>
struct Results {
  std::vector<T> u, v, c, currents, fired, errors, transferred, gradient, back;
  std::vector<Word> emitted;
  std::vector<std::uint8_t> switches;
  std::vector<std::int64_t> counts;
  bool operator==(const Results&) const = default;
};

template <class T>
struct Problem {
  Case shape;
  Geometry g;
  std::vector<Word> spikes, keep;
  std::vector<T> weight, v, c, z;

  explicit Problem(const Case& s) : shape(s) {
    const Index lanes = 64 / static_cast<Index>(sizeof(T)), padded = (s.depth + lanes - 1) / lanes * lanes;
    g = {s.in_height,
         s.in_width,
         s.in_channels,
         s.kernel,
         s.kernel,
         s.stride,
         (s.in_height - s.kernel) / s.stride + 1,
         (s.in_width - s.kernel) / s.stride + 1,
         padded,
         s.depth,
         s.pool};
    const Index images = s.steps * s.batch;
    spikes = random_bits(images, g.in_units());
    if (s.keep) keep = random_bits(images, g.units());
    weight = random_values<T>(g.rows() * padded);
    for (Index row = 0; row < g.rows(); ++row)
      for (Index k = s.depth; k < padded; ++k) weight[static_cast<std::size_t>(row * padded + k)] = T{0};
    v = std::vector<T>(static_cast<std::size_t>(s.batch * g.units()));
    c = v;
    z = random_values<T>(images * g.units());
  }

  // Weights as the adjoint wants them: (panel, tap, depth, width).
  std::vector<T> panels(Index width) const {
    const Index count = (g.in_channels + width - 1) / width, taps = g.kernel_height * g.kernel_width;
    std::vector<T> result(static_cast<std::size_t>(count * taps * g.depth * width));
    for (Index row = 0; row < g.rows(); ++row)
      for (Index k = 0; k < g.depth; ++k) {
        const Index tap = row / g.in_channels, channel = row % g.in_channels, panel = channel / width;
        result[static_cast<std::size_t>(((panel * taps + tap) * g.depth + k) * width + channel % width)] =
            weight[static_cast<std::size_t>(row * g.out_channels + k)];
      }
    return result;
  }

  Results<T> run(const Kernels<T>& kernels, int threads) const {
    const Extent extent{shape.steps, shape.batch, threads};
    const Neuron<T> neuron{T(0.4), T(1), T(5), shape.hard};
    const std::size_t size = static_cast<std::size_t>(shape.steps * shape.batch * g.units());
    Results<T> r;
    r.v = v;
    r.c = c;
    r.u.resize(size);
    r.currents.resize(size);
    r.emitted.assign(static_cast<std::size_t>(shape.steps * shape.batch * g.out_words()), ~Word{0});
    r.counts.resize(static_cast<std::size_t>(shape.batch));
    ForwardArguments<T> a{spikes.data(),
                          weight.data(),
                          T(1.25),
                          keep.empty() ? nullptr : keep.data(),
                          shape.states ? r.v.data() : nullptr,
                          shape.states ? r.c.data() : nullptr,
                          r.u.data(),
                          r.emitted.data(),
                          r.counts.data()};
    if (g.pool > 1) r.switches.resize(size);
    kernels.currents(g, extent, spikes.data(), weight.data(), T(1.25), r.currents.data(), r.switches.data());
    if (g.pool == 1) {
      kernels.forward(g, neuron, extent, a);
    } else {
      r.u = r.currents;
      kernels.fire(g.units(), neuron, extent, a);
    }
    after_currents(kernels, neuron, extent, r);
    r.errors = z;
    r.transferred.resize(size);
    kernels.errors(g.units(), neuron, extent,
                   {r.u.data(), r.errors.data(), a.keep, T(0.5), r.transferred.data(), true, a.keep ? T(2) : T(0)});
    r.gradient.resize(static_cast<std::size_t>(g.rows() * g.out_channels));
    kernels.weight_gradient(g, extent, spikes.data(), r.errors.data(), r.switches.data(), r.gradient.data());
    if (g.in_channels % kernels.lanes == 0) {
      const Index vectors = std::min<Index>(g.in_channels / kernels.lanes, 3);
      r.back.resize(static_cast<std::size_t>(shape.steps * shape.batch * g.in_units()));
      kernels.adjoint(g, extent, vectors, panels(vectors * kernels.lanes).data(), r.errors.data(), r.switches.data(),
                      r.back.data());
    }
    return r;
  }

  // The neurons alone, fed with the currents, must do what they do inside the layer.
  void after_currents(const Kernels<T>& kernels, const Neuron<T>& neuron, const Extent& extent, Results<T>& r) const {
    r.fired = r.currents;
    std::vector<T> v2 = v, c2 = c;
    std::vector<Word> emitted(r.emitted.size(), ~Word{0});
    std::vector<std::int64_t> counts(r.counts.size());
    kernels.fire(g.units(), neuron, extent,
                 {nullptr, nullptr, T(1), keep.empty() ? nullptr : keep.data(), shape.states ? v2.data() : nullptr,
                  shape.states ? c2.data() : nullptr, r.fired.data(), emitted.data(), counts.data()});
    if (emitted != r.emitted || counts != r.counts) r.fired.clear();
  }

  // Where in the maps pooled unit `unit` looks, and its window's element `number`.
  std::size_t place(Index image, Index unit, Index number) const {
    const Index channel = unit % g.out_channels, x = unit / g.out_channels % g.width(),
                y = unit / g.out_channels / g.width();
    const Index row = y * g.pool + number / g.pool, column = x * g.pool + number % g.pool;
    return static_cast<std::size_t>(image * g.out_units() + (row * g.out_width + column) * g.out_channels + channel);
  }

  // Errors in the order of the maps; false where a switch does not name the first maximum of its window.
  bool unpool(const std::vector<double>& sum, const Results<T>& r, std::vector<double>& pooled,
              std::vector<double>& errors) const {
    for (Index image = 0; image < shape.steps * shape.batch; ++image)
      for (Index unit = 0; unit < g.units(); ++unit) {
        const auto at = static_cast<std::size_t>(image * g.units() + unit);
        const Index winner = r.switches.empty() ? 0 : r.switches[at];
        pooled[at] = sum[place(image, unit, winner)];
        errors[place(image, unit, winner)] = static_cast<double>(r.errors[at]);
        for (Index number = 0; number < g.pool * g.pool; ++number)
          if (sum[place(image, unit, number)] > pooled[at] + 1e-4) return false;
      }
    return true;
  }

  // Currents, weight gradient and adjoint by plain loops.
  bool right(const Results<T>& r) const {
    const Index images = shape.steps * shape.batch;
    const auto size = static_cast<std::size_t>(images * g.out_units());
    std::vector<double> sum(size), errors(size), pooled(r.u.size()), gradient(r.gradient.size()), back(r.back.size());
    visit([&](std::size_t out, std::size_t, std::size_t w, bool spike) {
      if (spike) sum[out] += 1.25 * static_cast<double>(weight[w]);
    });
    if (!unpool(sum, r, pooled, errors)) return false;
    visit([&](std::size_t out, std::size_t in, std::size_t w, bool spike) {
      if (spike) gradient[w] += errors[out];
      if (!back.empty()) back[in] += static_cast<double>(weight[w]) * errors[out];
    });
    return near(pooled, r.currents) && near(gradient, r.gradient, true) && near(back, r.back);
  }

  // Calls use(place in the maps, in the input, in the weight, whether it spikes) for every product of the convolution.
  template <class Use>
  void visit(const Use& use) const {
    const Index images = shape.steps * shape.batch;
    for (Index image = 0; image < images; ++image)
      for (Index y = 0; y < g.out_height; ++y)
        for (Index x = 0; x < g.out_width; ++x)
          for (Index row = 0; row < g.rows(); ++row) {
            const Index channel = row % g.in_channels, tap = row / g.in_channels;
            const Index iy = y * g.stride + tap / g.kernel_width, ix = x * g.stride + tap % g.kernel_width;
            const Index unit = (iy * g.in_width + ix) * g.in_channels + channel;
            const bool spike = bit(spikes, image, g.in_units(), unit);
            const Index first = image * g.out_units() + (y * g.out_width + x) * g.out_channels;
            for (Index k = 0; k < g.depth; ++k)
              use(static_cast<std::size_t>(first + k), static_cast<std::size_t>(image * g.in_units() + unit),
                  static_cast<std::size_t>(row * g.out_channels + k), spike);
          }
  }

  bool near(const std::vector<double>& wanted, const std::vector<T>& found, bool padding = false) const {
    const double allowed = sizeof(T) == 4 ? 2e-4 : 1e-11;
    for (std::size_t k = 0; k < wanted.size(); ++k) {
      if (padding && static_cast<Index>(k) % g.out_channels >= g.depth) continue;  // errors of padding are not 0 here
      if (std::abs(wanted[k] - static_cast<double>(found[k])) > allowed * (1 + std::abs(wanted[k]))) return false;
    }
    return true;
  }
};

template <class T>
bool check(const Case& c) {
  const Problem<T> problem(c);
  for (const std::string& isa : core::all_isa()) {
    const Kernels<T> kernels = kernels_of<T>(isa);
    const Results<T> one = problem.run(kernels, 1);
    if (one.fired.empty()) return std::printf("%s: neurons alone do something else\n", isa.c_str()), false;
    if (!problem.right(one)) return std::printf("%s: a sum is wrong\n", isa.c_str()), false;
    for (int threads : {2, 4, 7})
      if (!(problem.run(kernels, threads) == one))
        return std::printf("%s: %d threads give other bits\n", isa.c_str(), threads), false;
  }
  return true;
}

// Bits of encoder spikes, back as values; the same for any number of threads.
bool encoder() {
  const Maps maps{5, 7, 3, 3};
  const std::vector<float> x = random_values<float>(4 * maps.size());
  std::vector<Word> first;
  for (int threads : {1, 3}) {
    std::vector<float> a(x.size()), values(x.size() * 6);
    std::vector<Word> bits(static_cast<std::size_t>(6 * 4 * maps.words()), ~Word{0});
    const Extent extent{6, 4, threads};
    encode<float>(maps, extent, x.data(), true, 1.5F, 0.25F, a.data(), bits.data());
    unpack<float>(maps, extent, bits.data(), 1.F, values.data());
    std::vector<std::uint8_t> bytes(values.begin(), values.end());
    std::vector<Word> again(bits.size(), ~Word{0});
    pack(maps, extent, bytes.data(), again.data());
    if (again != bits || (!first.empty() && bits != first)) return std::printf("encoder\n"), false;
    first = bits;
  }
  return true;
}

}  // namespace

int main() {
  const Case cases[] = {
      {9, 8, 1, 3, 1, 4, 5, 3, false, true, false},       {12, 11, 2, 4, 2, 17, 4, 7, true, true, true},
      {7, 7, 16, 2, 1, 33, 3, 9, true, false, true},      {1, 1, 144, 1, 1, 150, 6, 13, false, false, false},
      {8, 9, 64, 3, 2, 5, 2, 5, true, true, false},       {6, 6, 32, 5, 1, 1, 1, 1, false, true, true},
      {1, 1, 80, 1, 1, 10, 1, 50, false, true, true},     {9, 8, 1, 3, 1, 4, 5, 3, true, true, false, 2},
      {11, 12, 32, 3, 1, 17, 3, 7, true, false, true, 3},
  };
  int number = 0;
  for (const Case& c : cases) {
    ++number;
    if (!check<float>(c) || !check<double>(c)) return std::printf("case %d failed\n", number), 1;
  }
  if (!encoder()) return 1;
  std::printf("%d layers, every instruction set and thread count: no error\n", number);
}
