// What Python calls: NumPy buffers in, NumPy buffers out; no array is converted; shapes are checked in inputs.hpp.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/isa.hpp"
#include "inputs.hpp"
#include "run.hpp"

namespace sbs {

namespace py = pybind11;
using Images = py::array_t<float>;  // any strides
using Floats = py::array_t<float, py::array::c_style>;
using Ints = py::array_t<std::int32_t, py::array::c_style>;

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

inline View view(const py::array& array) {
  View seen;
  seen.data = array.data();
  for (py::ssize_t axis = 0; axis < array.ndim(); ++axis) {
    seen.shape.push_back(array.shape(axis));
    seen.stride.push_back(array.strides(axis));
  }
  return seen;
}

inline void check_threads(int threads) { require(threads > 0, "threads must be positive"); }

// The instruction set that the caller names, or the one that "auto" is.
inline std::string chosen_isa(const std::string& name) {
  if (name == "auto") return core::isa();
  require(core::has_isa(name), "this processor has no " + name);
  return name;
}

inline py::tuple infer(const Images& image, const GeometryNumbers& geometry, const Floats& weights,
                       const Floats& h_initial, const Floats& epsilon_t, const Floats& epsilon_xy, float forgetting,
                       bool one_hot, std::uint64_t seed, std::uint64_t first_position,
                       const std::optional<Floats>& uniform, bool lower, const std::optional<Ints>& spikes, bool keep,
                       int threads, const std::string& isa) {
  check_threads(threads);
  const std::string chosen = chosen_isa(isa);
  Inputs in{view(image), view(weights), view(h_initial), view(epsilon_t), view(epsilon_xy), {}, {}};
  if (uniform) in.uniform = view(*uniform);
  if (spikes) in.spikes = view(*spikes);
  Prepared prepared(in, geometry, one_hot, forgetting);
  Problem& p = prepared.problem;
  p.seed = seed;
  p.first_position = first_position;
  p.lower = lower;
  const Geometry& g = p.geometry;
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
    valid = run(p, threads, chosen, Signals());
  }
  return py::make_tuple(h, kept, valid);
}

inline Floats patches(const Images& image, const GeometryNumbers& numbers, int threads) {
  check_threads(threads);
  const View seen = view(image);
  const Geometry g = read_geometry(seen, numbers);
  const float* source = entries<float>(seen, "image");
  const std::vector<std::int64_t> offset = component_offsets(g);
  const auto components = static_cast<std::int64_t>(offset.size());
  Floats out(std::vector<py::ssize_t>{g.samples * g.out[0] * g.out[1], components});
  float* target = out.mutable_data();
  const py::gil_scoped_release release;
  cut_patches(g, source, offset.data(), components, target, threads, Signals());
  return out;
}

}  // namespace sbs
