// Bindings: NumPy buffers in, NumPy buffers out; shapes are checked here, meaning is checked in Python.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "run.hpp"

namespace py = pybind11;
using Floats = py::array_t<float, py::array::c_style>;
using Ints = py::array_t<std::int32_t, py::array::c_style>;

namespace {

void require(bool condition, const std::string& what) {
  if (!condition) throw std::invalid_argument("sbs kernel: " + what);
}

// Lets Python handle its signals, at most every 50 ms; throws what a handler raised, as KeyboardInterrupt.
class Signals {
 public:
  void operator()() {
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < std::chrono::milliseconds(50)) return;
    last_ = now;
    const py::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

sbs::Geometry read_geometry(const py::array_t<float>& image, const std::array<std::int64_t, 8>& numbers) {
  require(image.ndim() == 4, "the image needs 4 axes");
  sbs::Geometry g{};
  for (std::size_t axis = 0; axis < 2; ++axis) {
    g.kernel[axis] = numbers[axis];
    g.stride[axis] = numbers[2 + axis];
    g.dilation[axis] = numbers[4 + axis];
    g.padding[axis] = numbers[6 + axis];
    g.size[axis] = image.shape(static_cast<py::ssize_t>(2 + axis));
    require(g.kernel[axis] > 0 && g.stride[axis] > 0 && g.dilation[axis] > 0 && g.padding[axis] >= 0, "bad geometry");
    const std::int64_t room = g.size[axis] + 2 * g.padding[axis] - g.dilation[axis] * (g.kernel[axis] - 1) - 1;
    require(room >= 0, "the kernel does not fit the image");
    g.out[axis] = room / g.stride[axis] + 1;
  }
  g.samples = image.shape(0);
  g.channels = image.shape(1);
  for (py::ssize_t axis = 0; axis < 4; ++axis)
    g.step[axis] = image.strides(axis) / static_cast<py::ssize_t>(sizeof(float));
  return g;
}

std::vector<std::int64_t> component_offsets(const sbs::Geometry& g) {
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

Rows padded(const float* values, std::int64_t rows, std::int64_t from, std::int64_t to) {
  Rows out(static_cast<std::size_t>(rows * to), 0.0F);
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t j = 0; j < from; ++j) out[static_cast<std::size_t>(r * to + j)] = values[r * from + j];
  return out;
}

void check_trains(const py::array& array, const sbs::Problem& p, const char* name) {
  const sbs::Geometry& g = p.geometry;
  require(array.ndim() == 4 && array.shape(0) == g.samples && array.shape(1) == p.spikes && array.shape(2) == g.out[0] &&
              array.shape(3) == g.out[1],
          std::string(name) + " needs shape (sample, spike, X, Y)");
}

py::tuple infer(const py::array_t<float>& image, const std::array<std::int64_t, 8>& geometry, const Floats& weights,
                const Floats& h_initial, const Floats& epsilon_t, const Floats& epsilon_xy, float forgetting, bool one_hot,
                std::uint64_t seed, std::uint64_t first_position, const std::optional<Floats>& uniform, bool lower,
                const std::optional<Ints>& given, bool keep, int threads, const std::string& isa) {
  sbs::Problem p{};
  p.geometry = read_geometry(image, geometry);
  const sbs::Geometry& g = p.geometry;
  const std::vector<std::int64_t> offset = component_offsets(g);
  p.image = image.data();
  p.offset = offset.data();
  p.components = static_cast<std::int64_t>(offset.size());
  require(weights.ndim() == 2 && weights.shape(0) == p.components, "weights need shape (component, neuron)");
  p.neurons = weights.shape(1);
  require(p.components > 0 && p.neurons > 0, "weights are empty");
  require(h_initial.ndim() == 1 && h_initial.shape(0) == p.neurons, "h_initial needs shape (neuron)");
  require(epsilon_t.ndim() == 1 && epsilon_t.shape(0) > 0, "epsilon_t needs shape (spike)");
  require(threads > 0, "threads must be positive");
  require(isa == "auto" || sbs::has_isa(isa), "this processor has no " + isa);
  require(!one_hot || (p.neurons == g.channels), "pooling needs as many neurons as channels");
  const std::int64_t area = g.out[0] * g.out[1];
  require(epsilon_xy.size() == area || epsilon_xy.size() == area * p.kernel_size(), "epsilon_xy has the wrong size");
  p.epsilon_width = epsilon_xy.size() / area;
  p.vectors = (p.neurons + sbs::kLanes - 1) / sbs::kLanes;
  const std::int64_t width = p.vectors * sbs::kLanes;
  Rows wide;
  const bool apart = reinterpret_cast<std::uintptr_t>(weights.data()) % 64 != 0;
  p.one_hot = one_hot && !(forgetting > 0.0F);
  if (!p.one_hot && (width != p.neurons || apart)) wide = padded(weights.data(), p.components, p.neurons, width);
  const Rows start = padded(h_initial.data(), 1, p.neurons, width);
  Rows pull(static_cast<std::size_t>(width), 0.0F);
  for (std::int64_t j = 0; j < p.neurons; ++j)
    pull[static_cast<std::size_t>(j)] = forgetting / static_cast<float>(p.neurons);
  p.weights = wide.empty() ? weights.data() : wide.data();
  p.h_initial = start.data();
  p.uniform_pull = pull.data();
  p.forgetting = forgetting;
  p.epsilon_t = epsilon_t.data();
  p.spikes = epsilon_t.shape(0);
  p.epsilon_xy = epsilon_xy.data();
  p.seed = seed;
  p.first_position = first_position;
  p.lower = lower;
  if (uniform) {
    check_trains(*uniform, p, "uniform");
    p.uniform = uniform->data();
  }
  if (given) {
    check_trains(*given, p, "spikes");
    p.given = given->data();
    for (py::ssize_t k = 0; k < given->size(); ++k)
      require(given->data()[k] < p.components, "a spike names a component that does not exist");
  }
  std::optional<Ints> kept;
  if (keep) {
    kept = Ints(std::vector<py::ssize_t>{g.samples, p.spikes, g.out[0], g.out[1]});
    p.kept = kept->mutable_data();
  }
  Floats h(std::vector<py::ssize_t>{g.samples, g.out[0], g.out[1], p.neurons});
  p.h = h.mutable_data();
  bool valid = false;
  {
    const py::gil_scoped_release release;
    valid = sbs::run(p, threads, isa, Signals());
  }
  return py::make_tuple(h, kept, valid);
}

Floats patches(const py::array_t<float>& image, const std::array<std::int64_t, 8>& numbers, int threads) {
  const sbs::Geometry g = read_geometry(image, numbers);
  require(threads > 0, "threads must be positive");
  const std::vector<std::int64_t> offset = component_offsets(g);
  const auto components = static_cast<std::int64_t>(offset.size());
  Floats out(std::vector<py::ssize_t>{g.samples * g.out[0] * g.out[1], components});
  float* target = out.mutable_data();
  const float* source = image.data();
  const py::gil_scoped_release release;
  sbs::cut_patches(g, source, offset.data(), components, target, threads, Signals());
  return out;
}

}  // namespace

PYBIND11_MODULE(_kernel, m, py::mod_gil_not_used()) {
  m.doc() = "Fused spike sampling and h dynamics of SbS layers.";
  m.def("infer", &infer, py::arg("image").noconvert(), py::arg("geometry"), py::arg("weights").noconvert(),
        py::arg("h_initial").noconvert(), py::arg("epsilon_t").noconvert(), py::arg("epsilon_xy").noconvert(),
        py::arg("forgetting"), py::arg("one_hot"), py::arg("seed"), py::arg("first_position"), py::arg("uniform"),
        py::arg("lower"), py::arg("spikes"), py::arg("keep_spikes"), py::arg("threads"), py::arg("isa"));
  m.def("patches", &patches, py::arg("image").noconvert(), py::arg("geometry"), py::arg("threads"));
  m.def("best_isa", &sbs::best_isa, "Best instruction set of this processor.");
  m.def("has_isa", &sbs::has_isa, py::arg("name"));
}
