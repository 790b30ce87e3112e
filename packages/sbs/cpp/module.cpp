// Bindings: NumPy buffers in, NumPy buffers out; no array is converted; shapes are checked in inputs.hpp.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "inputs.hpp"
#include "run.hpp"

namespace py = pybind11;
using Images = py::array_t<float>;  // any strides
using Floats = py::array_t<float, py::array::c_style>;
using Ints = py::array_t<std::int32_t, py::array::c_style>;

namespace {

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

sbs::View view(const py::array& array) {
  sbs::View seen;
  seen.data = array.data();
  for (py::ssize_t axis = 0; axis < array.ndim(); ++axis) {
    seen.shape.push_back(array.shape(axis));
    seen.stride.push_back(array.strides(axis));
  }
  return seen;
}

void check_how(int threads, const std::string& isa) {
  sbs::require(threads > 0, "threads must be positive");
  sbs::require(isa == "auto" || sbs::has_isa(isa), "this processor has no " + isa);
}

py::tuple infer(const Images& image, const sbs::GeometryNumbers& geometry, const Floats& weights,
                const Floats& h_initial, const Floats& epsilon_t, const Floats& epsilon_xy, float forgetting,
                bool one_hot, std::uint64_t seed, std::uint64_t first_position, const std::optional<Floats>& uniform,
                bool lower, const std::optional<Ints>& spikes, bool keep, int threads, const std::string& isa) {
  check_how(threads, isa);
  sbs::Inputs in{view(image), view(weights), view(h_initial), view(epsilon_t), view(epsilon_xy), {}, {}};
  if (uniform) in.uniform = view(*uniform);
  if (spikes) in.spikes = view(*spikes);
  sbs::Prepared prepared(in, geometry, one_hot, forgetting);
  sbs::Problem& p = prepared.problem;
  p.seed = seed;
  p.first_position = first_position;
  p.lower = lower;
  const sbs::Geometry& g = p.geometry;
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

Floats patches(const Images& image, const sbs::GeometryNumbers& numbers, int threads) {
  check_how(threads, "auto");
  const sbs::View seen = view(image);
  const sbs::Geometry g = sbs::read_geometry(seen, numbers);
  const float* source = sbs::entries<float>(seen, "image");
  const std::vector<std::int64_t> offset = sbs::component_offsets(g);
  const auto components = static_cast<std::int64_t>(offset.size());
  Floats out(std::vector<py::ssize_t>{g.samples * g.out[0] * g.out[1], components});
  float* target = out.mutable_data();
  const py::gil_scoped_release release;
  sbs::cut_patches(g, source, offset.data(), components, target, threads, Signals());
  return out;
}

}  // namespace

PYBIND11_MODULE(_kernel, m, py::mod_gil_not_used()) {
  m.doc() = "Fused spike sampling and h dynamics of SbS layers.";
  m.def("infer", &infer, py::arg("image").noconvert(), py::arg("geometry"), py::arg("weights").noconvert(),
        py::arg("h_initial").noconvert(), py::arg("epsilon_t").noconvert(), py::arg("epsilon_xy").noconvert(),
        py::arg("forgetting"), py::arg("one_hot"), py::arg("seed"), py::arg("first_position"),
        py::arg("uniform").noconvert(), py::arg("lower"), py::arg("spikes").noconvert(), py::arg("keep_spikes"),
        py::arg("threads"), py::arg("isa"));
  m.def("patches", &patches, py::arg("image").noconvert(), py::arg("geometry"), py::arg("threads"));
  m.def("best_isa", &sbs::best_isa, "Best instruction set of this processor.");
  m.def("has_isa", &sbs::has_isa, py::arg("name"));
}
