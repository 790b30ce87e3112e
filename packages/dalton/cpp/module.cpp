// Python bindings: arrays in, results written into arrays that the caller made; sizes are checked here.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

#include "dispatch.hpp"
#include "packing.hpp"
#include "weights.hpp"

namespace py = pybind11;

namespace {

using dalton::Extent;
using dalton::Fold;
using dalton::Geometry;
using dalton::Index;
using dalton::Maps;
using dalton::Neuron;
using dalton::Word;

template <class T>
using Array = py::array_t<T, py::array::c_style>;
using Bits = Array<std::int64_t>;
template <class T>
using Optional = std::optional<Array<T>>;
using OptionalBytes = Optional<std::uint8_t>;

template <class A>
void need(const A& array, Index size, const char* name) {
  if (array.size() != size)
    throw std::invalid_argument(std::string(name) + " has " + std::to_string(array.size()) + " values, not " +
                                std::to_string(size));
}

void need_switches(const Geometry& g, const Extent& e, const OptionalBytes& switches) {
  if (g.pool > 16) throw std::invalid_argument("a switch numbers windows of up to 16 x 16");
  if (switches.has_value() != g.pool > 1) throw std::invalid_argument("a max-pool has switches, nothing else has");
  if (switches) need(*switches, e.steps * e.batch * g.units(), "switches");
}

const Word* words(const Bits& bits) { return reinterpret_cast<const Word*>(bits.data()); }
Word* words(Bits& bits) { return reinterpret_cast<Word*>(bits.mutable_data()); }

template <class T>
class Core {
 public:
  explicit Core(const std::string& isa) : kernels_(dalton::kernels_of<T>(isa)) {}

  void encode(const Maps& m, const Extent& e, const Array<T>& x, bool held, T gain, T bias, Array<T> state,
              Bits spikes) const {
    need(x, (held ? 1 : e.steps) * e.batch * m.size(), "x");
    need(state, e.batch * m.size(), "state");
    need(spikes, e.steps * e.batch * m.words(), "spikes");
    const T* in = x.data();
    T* a = state.mutable_data();
    Word* out = words(spikes);
    py::gil_scoped_release release;
    dalton::encode<T>(m, e, in, held, gain, bias, a, out);
  }

  void unpack(const Maps& m, const Extent& e, const Bits& bits, T value, Array<T> values) const {
    need(bits, e.steps * e.batch * m.words(), "bits");
    need(values, e.steps * e.batch * m.size(), "values");
    const Word* in = words(bits);
    T* out = values.mutable_data();
    py::gil_scoped_release release;
    dalton::unpack<T>(m, e, in, value, out);
  }

  Index forward(const Geometry& g, const Neuron<T>& n, const Extent& e, const Bits& spikes, const Array<T>& weight,
                T scale, const std::optional<Bits>& keep, Optional<T> v, Optional<T> c, Array<T> potentials,
                Bits emitted) const {
    need(spikes, e.steps * e.batch * g.in_words(), "spikes");
    need(weight, g.rows() * g.out_channels, "weight");
    std::vector<std::int64_t> counts(static_cast<std::size_t>(e.batch));
    if (g.pool > 1) throw std::invalid_argument("a max-pooled layer fires after its currents");
    auto a = arguments(g.units(), e, keep, v, c, potentials, emitted, counts);
    a.spikes = words(spikes);
    a.weight = weight.data();
    a.scale = scale;
    py::gil_scoped_release release;
    kernels_.forward(g, n, e, a);
    return total(counts);
  }

  Index fire(Index units, const Neuron<T>& n, const Extent& e, const std::optional<Bits>& keep, Optional<T> v,
             Optional<T> c, Array<T> potentials, Bits emitted) const {
    std::vector<std::int64_t> counts(static_cast<std::size_t>(e.batch));
    const auto a = arguments(units, e, keep, v, c, potentials, emitted, counts);
    py::gil_scoped_release release;
    kernels_.fire(units, n, e, a);
    return total(counts);
  }

  void currents(const Geometry& g, const Extent& e, const Bits& spikes, const Array<T>& weight, T scale,
                Array<T> result, OptionalBytes switches) const {
    need(spikes, e.steps * e.batch * g.in_words(), "spikes");
    need(weight, g.rows() * g.out_channels, "weight");
    need(result, e.steps * e.batch * g.units(), "result");
    need_switches(g, e, switches);
    const Word* in = words(spikes);
    const T* w = weight.data();
    T* out = result.mutable_data();
    std::uint8_t* won = switches ? switches->mutable_data() : nullptr;
    py::gil_scoped_release release;
    kernels_.currents(g, e, in, w, scale, out, won);
  }

  void errors(Index units, const Neuron<T>& n, const Extent& e, const Array<T>& potentials, Array<T> z,
              const std::optional<Bits>& keep, T scale, Optional<T> transferred, bool rectify,
              T transfer_scale) const {
    const Index size = e.steps * e.batch * units;
    need(potentials, size, "potentials");
    need(z, size, "z");
    if (keep) need(*keep, e.steps * e.batch * Geometry::words(units), "keep");
    if (transferred) need(*transferred, size, "transferred");
    const dalton::ErrorArguments<T> a{potentials.data(), z.mutable_data(), keep ? words(*keep) : nullptr, scale,
                                      transferred ? transferred->mutable_data() : nullptr, rectify, transfer_scale};
    py::gil_scoped_release release;
    kernels_.errors(units, n, e, a);
  }

  void weight_gradient(const Geometry& g, const Extent& e, const Bits& spikes, const Array<T>& errors,
                       const OptionalBytes& switches, Array<T> result) const {
    need(spikes, e.steps * e.batch * g.in_words(), "spikes");
    need(errors, e.steps * e.batch * g.units(), "errors");
    need_switches(g, e, switches);
    need(result, g.rows() * g.out_channels, "result");
    const Word* in = words(spikes);
    const T* error = errors.data();
    T* out = result.mutable_data();
    const std::uint8_t* won = switches ? switches->data() : nullptr;
    py::gil_scoped_release release;
    kernels_.weight_gradient(g, e, in, error, won, out);
  }

  void adjoint(const Geometry& g, const Extent& e, Index vectors, const Array<T>& weight, const Array<T>& errors,
               const OptionalBytes& switches, Array<T> result) const {
    need(weight, panels_size(g, vectors), "weight");
    need(errors, e.steps * e.batch * g.units(), "errors");
    need_switches(g, e, switches);
    need(result, e.steps * e.batch * g.in_units(), "result");
    const T *w = weight.data(), *error = errors.data();
    T* out = result.mutable_data();
    const std::uint8_t* won = switches ? switches->data() : nullptr;
    py::gil_scoped_release release;
    kernels_.adjoint(g, e, vectors, w, error, won, out);
  }

  void fold(const Fold& f, const Array<T>& weight, Array<T> rows) const {
    reorder(weight, f.plain_size(), rows, f.size(), [&](const T* in, T* out) { dalton::fold<T>(f, in, out); });
  }

  void unfold(const Fold& f, const Array<T>& rows, Array<T> weight) const {
    reorder(rows, f.size(), weight, f.plain_size(), [&](const T* in, T* out) { dalton::unfold<T>(f, in, out); });
  }

  void panels(const Geometry& g, Index vectors, const Array<T>& rows, Array<T> result) const {
    const Index width = vectors * kernels_.lanes;
    reorder(rows, g.rows() * g.out_channels, result, panels_size(g, vectors),
            [&](const T* in, T* out) { dalton::panels<T>(g, width, in, out); });
  }

  Index lanes() const { return kernels_.lanes; }

 private:
  // Calls use(from, to), their sizes checked, without the interpreter's lock.
  template <class Use>
  static void reorder(const Array<T>& from, Index from_size, Array<T>& to, Index to_size, const Use& use) {
    need(from, from_size, "the array to reorder");
    need(to, to_size, "the reordered array");
    const T* in = from.data();
    T* out = to.mutable_data();
    py::gil_scoped_release release;
    use(in, out);
  }

  Index panels_size(const Geometry& g, Index vectors) const {
    const Index width = vectors * kernels_.lanes, panels = (g.in_channels + width - 1) / width;
    return panels * g.kernel_height * g.kernel_width * g.depth * width;
  }

  static dalton::ForwardArguments<T> arguments(Index units, const Extent& e, const std::optional<Bits>& keep,
                                               Optional<T>& v, Optional<T>& c, Array<T>& potentials, Bits& emitted,
                                               std::vector<std::int64_t>& counts) {
    const Index all = e.steps * e.batch * Geometry::words(units);
    need(potentials, e.steps * e.batch * units, "potentials");
    need(emitted, all, "emitted");
    if (keep) need(*keep, all, "keep");
    if (v.has_value() != c.has_value()) throw std::invalid_argument("v and c belong together");
    if (v) need(*v, e.batch * units, "v"), need(*c, e.batch * units, "c");
    dalton::ForwardArguments<T> a{};
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

  dalton::Kernels<T> kernels_;
};

void pack(const Maps& m, const Extent& e, const Array<std::uint8_t>& bytes, Bits bits) {
  need(bytes, e.steps * e.batch * m.size(), "bytes");
  need(bits, e.steps * e.batch * m.words(), "bits");
  const std::uint8_t* in = bytes.data();
  Word* out = words(bits);
  py::gil_scoped_release release;
  dalton::pack(m, e, in, out);
}

template <class T>
void bind(py::module_& m, const char* core, const char* neuron) {
  py::class_<Neuron<T>>(m, neuron).def(py::init<T, T, T, bool>());
  py::class_<Core<T>>(m, core)
      .def(py::init<const std::string&>(), py::arg("isa"))
      .def_property_readonly("lanes", &Core<T>::lanes)
      .def("encode", &Core<T>::encode)
      .def("unpack", &Core<T>::unpack)
      .def("forward", &Core<T>::forward)
      .def("fire", &Core<T>::fire)
      .def("currents", &Core<T>::currents)
      .def("errors", &Core<T>::errors)
      .def("weight_gradient", &Core<T>::weight_gradient)
      .def("adjoint", &Core<T>::adjoint)
      .def("fold", &Core<T>::fold)
      .def("unfold", &Core<T>::unfold)
      .def("panels", &Core<T>::panels);
}

}  // namespace

PYBIND11_MODULE(_kernel, m) {
  m.doc() = "Compiled kernels of dalton: spikes as bits, fused neurons, adjoints.";
  m.def("isa", &dalton::all_isa, "Instruction sets of this processor, best first.");
  py::class_<Geometry>(m, "Geometry")
      .def(py::init<Index, Index, Index, Index, Index, Index, Index, Index, Index, Index, Index>());
  py::class_<Fold>(m, "Fold").def(py::init<Index, Index, Index, Index, Index, Index, Index, Index>());
  py::class_<Extent>(m, "Extent").def(py::init<Index, Index, int>());
  py::class_<Maps>(m, "Maps").def(py::init<Index, Index, Index, Index>());
  m.def("pack", &pack);
  bind<float>(m, "CoreFloat", "NeuronFloat");
  bind<double>(m, "CoreDouble", "NeuronDouble");
}
