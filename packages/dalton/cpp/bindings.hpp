// What Python calls: arrays in, results written into arrays that the caller made; sizes are checked here.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "checks.hpp"
#include "dispatch.hpp"
#include "packing.hpp"
#include "signals.hpp"
#include "weights.hpp"

namespace dalton {

namespace py = pybind11;
template <class T>
using Array = py::array_t<T, py::array::c_style>;
using Bits = Array<std::int64_t>;
template <class T>
using Optional = std::optional<Array<T>>;
using OptionalBytes = Optional<std::uint8_t>;

inline void need_switches(const Geometry& g, const Extent& e, const OptionalBytes& switches) {
  if (switches.has_value() != (g.pool > 1)) refuse("a max-pool has switches, nothing else has");
  if (switches) need(*switches, "switches", {e.steps, e.batch}, g.units());
}

inline const Word* words(const Bits& bits) { return reinterpret_cast<const Word*>(bits.data()); }
inline Word* words(Bits& bits) { return reinterpret_cast<Word*>(bits.mutable_data()); }

// Calls use(extent) without the interpreter's lock; an interrupt ends it, and what it has written by then is garbage.
template <class Use>
void run(const Extent& extent, const Use& use) {
  Signals signals;
  Extent interruptible = extent;
  interruptible.between = &signals;
  const py::gil_scoped_release release;
  use(interruptible);
}

template <class T>
class Core {
 public:
  explicit Core(const std::string& isa) : kernels_(kernels_of<T>(isa)) {}

  void encode(const Maps& m, const Extent& e, const Array<T>& x, bool held, T gain, T bias, Array<T> state,
              Bits spikes) const {
    held ? need(x, "x", {e.batch}, m.size()) : need(x, "x", {e.steps, e.batch}, m.size());
    need(state, "state", {e.batch}, m.size());
    need(spikes, "spikes", {e.steps, e.batch}, m.words());
    const T* in = x.data();
    T* a = state.mutable_data();
    Word* out = words(spikes);
    run(e, [&](const Extent& with) { dalton::encode<T>(m, with, in, held, gain, bias, a, out); });
  }

  void unpack(const Maps& m, const Extent& e, const Bits& bits, T value, Array<T> values) const {
    need(bits, "bits", {e.steps, e.batch}, m.words());
    need(values, "values", {e.steps, e.batch}, m.size());
    const Word* in = words(bits);
    T* out = values.mutable_data();
    run(e, [&](const Extent& with) { dalton::unpack<T>(m, with, in, value, out); });
  }

  Index forward(const Geometry& g, const Neuron<T>& n, const Extent& e, const Bits& spikes, const Array<T>& weight,
                T scale, const std::optional<Bits>& keep, Optional<T> v, Optional<T> c, Array<T> potentials,
                Bits emitted) const {
    need_layer(g, e, spikes, weight);
    if (g.pool > 1) refuse("a max-pooled layer fires after its currents");
    std::vector<std::int64_t> counts(static_cast<std::size_t>(e.batch));
    auto a = arguments(g.units(), e, keep, v, c, potentials, emitted, counts);
    a.spikes = words(spikes);
    a.weight = weight.data();
    a.scale = scale;
    run(e, [&](const Extent& with) { kernels_.forward(g, n, with, a); });
    return total(counts);
  }

  Index fire(Index units, const Neuron<T>& n, const Extent& e, const std::optional<Bits>& keep, Optional<T> v,
             Optional<T> c, Array<T> potentials, Bits emitted) const {
    std::vector<std::int64_t> counts(static_cast<std::size_t>(e.batch));
    const auto a = arguments(units, e, keep, v, c, potentials, emitted, counts);
    run(e, [&](const Extent& with) { kernels_.fire(units, n, with, a); });
    return total(counts);
  }

  void currents(const Geometry& g, const Extent& e, const Bits& spikes, const Array<T>& weight, T scale,
                Array<T> result, OptionalBytes switches) const {
    need_layer(g, e, spikes, weight);
    need(result, "result", {e.steps, e.batch}, g.units());
    need_switches(g, e, switches);
    const Word* in = words(spikes);
    const T* w = weight.data();
    T* out = result.mutable_data();
    std::uint8_t* won = switches ? switches->mutable_data() : nullptr;
    run(e, [&](const Extent& with) { kernels_.currents(g, with, in, w, scale, out, won); });
  }

  void errors(Index units, const Neuron<T>& n, const Extent& e, const Array<T>& potentials, Array<T> z,
              const std::optional<Bits>& keep, T scale, Optional<T> transferred, bool rectify, T transfer_scale) const {
    need_vectors(units);
    need(potentials, "potentials", {e.steps, e.batch}, units);
    need(z, "z", {e.steps, e.batch}, units);
    if (keep) need(*keep, "keep", {e.steps, e.batch}, Geometry::words(units));
    if (transferred) need(*transferred, "transferred", {e.steps, e.batch}, units);
    const ErrorArguments<T> a{potentials.data(),
                              z.mutable_data(),
                              keep ? words(*keep) : nullptr,
                              scale,
                              transferred ? transferred->mutable_data() : nullptr,
                              rectify,
                              transfer_scale};
    run(e, [&](const Extent& with) { kernels_.errors(units, n, with, a); });
  }

  void weight_gradient(const Geometry& g, const Extent& e, const Bits& spikes, const Array<T>& errors,
                       const OptionalBytes& switches, Array<T> result) const {
    need_layer(g, e, spikes, result);
    need(errors, "errors", {e.steps, e.batch}, g.units());
    need_switches(g, e, switches);
    const Word* in = words(spikes);
    const T* error = errors.data();
    T* out = result.mutable_data();
    const std::uint8_t* won = switches ? switches->data() : nullptr;
    run(e, [&](const Extent& with) { kernels_.weight_gradient(g, with, in, error, won, out); });
  }

  void adjoint(const Geometry& g, const Extent& e, Index vectors, const Array<T>& weight, const Array<T>& errors,
               const OptionalBytes& switches, Array<T> result) const {
    need_vectors(g.in_channels);
    need_vectors(g.out_channels);
    need(weight, "weight", {}, panels_size(g, vectors));
    need(errors, "errors", {e.steps, e.batch}, g.units());
    need_switches(g, e, switches);
    need(result, "result", {e.steps, e.batch}, g.in_units());
    const T *w = weight.data(), *error = errors.data();
    T* out = result.mutable_data();
    const std::uint8_t* won = switches ? switches->data() : nullptr;
    run(e, [&](const Extent& with) { kernels_.adjoint(g, with, vectors, w, error, won, out); });
  }

  void fold(const Fold& f, const Array<T>& weight, Array<T> rows) const {
    need(weight, "weight", {f.out}, f.plain_size() / f.out);
    need(rows, "rows", {}, f.size());
    reorder(weight, rows, [&](const T* in, T* out) { dalton::fold<T>(f, in, out); });
  }

  void unfold(const Fold& f, const Array<T>& rows, Array<T> weight) const {
    need(rows, "rows", {}, f.size());
    need(weight, "weight", {f.out}, f.plain_size() / f.out);
    reorder(rows, weight, [&](const T* in, T* out) { dalton::unfold<T>(f, in, out); });
  }

  void panels(const Geometry& g, Index vectors, const Array<T>& rows, Array<T> result) const {
    need(rows, "rows", {g.kernel_height, g.kernel_width, g.in_channels}, g.out_channels);
    need(result, "result", {}, panels_size(g, vectors));
    reorder(rows, result, [&](const T* in, T* out) { dalton::panels<T>(g, vectors * kernels_.lanes, in, out); });
  }

  Index lanes() const { return kernels_.lanes; }

 private:
  // Calls use(from, to) without the interpreter's lock.
  template <class Use>
  static void reorder(const Array<T>& from, Array<T>& to, const Use& use) {
    const T* in = from.data();
    T* out = to.mutable_data();
    const py::gil_scoped_release release;
    use(in, out);
  }

  Index panels_size(const Geometry& g, Index vectors) const {
    if (vectors < 1 || vectors > 4) refuse("a panel has 1 to 4 vectors");
    const Index width = vectors * kernels_.lanes, panels = (g.in_channels + width - 1) / width;
    return product({panels, g.kernel_height, g.kernel_width, g.depth, width});
  }

  void need_vectors(Index units) const {
    if (units < 1 || units % kernels_.lanes) refuse("channels are not padded to whole vectors");
  }

  void need_layer(const Geometry& g, const Extent& e, const Bits& spikes, const Array<T>& weight) const {
    need_vectors(g.out_channels);
    need(spikes, "spikes", {e.steps, e.batch}, g.in_words());
    need(weight, "weight", {g.kernel_height, g.kernel_width, g.in_channels}, g.out_channels);
  }

  ForwardArguments<T> arguments(Index units, const Extent& e, const std::optional<Bits>& keep, Optional<T>& v,
                                Optional<T>& c, Array<T>& potentials, Bits& emitted,
                                std::vector<std::int64_t>& counts) const {
    need_vectors(units);
    need(potentials, "potentials", {e.steps, e.batch}, units);
    need(emitted, "emitted", {e.steps, e.batch}, Geometry::words(units));
    if (keep) need(*keep, "keep", {e.steps, e.batch}, Geometry::words(units));
    if (v.has_value() != c.has_value()) refuse("v and c belong together");
    if (v) need(*v, "v", {e.batch}, units), need(*c, "c", {e.batch}, units);
    ForwardArguments<T> a{};
    a.keep = keep ? words(*keep) : nullptr;
    a.v = v ? v->mutable_data() : nullptr;
    a.c = c ? c->mutable_data() : nullptr;
    a.potentials = potentials.mutable_data();
    a.emitted = words(emitted);
    a.counts = counts.data();
    return a;
  }

  static Index total(const std::vector<std::int64_t>& counts) {
    Index sum = 0;
    for (const auto count : counts) sum += count;
    return sum;
  }

  Kernels<T> kernels_;
};

inline void pack_bytes(const Maps& m, const Extent& e, const Array<std::uint8_t>& bytes, Bits bits) {
  need(bytes, "bytes", {e.steps, e.batch}, m.size());
  need(bits, "bits", {e.steps, e.batch}, m.words());
  const std::uint8_t* in = bytes.data();
  Word* out = words(bits);
  run(e, [&](const Extent& with) { pack(m, with, in, out); });
}

}  // namespace dalton
