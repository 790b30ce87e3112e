// Registers the module; what is called is in bindings.hpp.
#include "bindings.hpp"

namespace py = pybind11;

namespace {

using dalton::Extent;
using dalton::Fold;
using dalton::Geometry;
using dalton::Index;
using dalton::Maps;
using dalton::Neuron;

// Arrays of another type or order are refused: what is written into a converted copy would be lost.
py::arg exact(const char* name) { return py::arg(name).noconvert(); }

template <class T>
void bind(py::module_& m, const char* core, const char* neuron) {
  using Core = dalton::Core<T>;
  using py::arg;
  py::class_<Neuron<T>>(m, neuron).def(py::init<T, T, T, bool>());
  py::class_<Core>(m, core)
      .def(py::init<const std::string&>(), arg("isa"))
      .def_property_readonly("lanes", &Core::lanes)
      .def("encode", &Core::encode, arg("maps"), arg("extent"), exact("x"), arg("held"), arg("gain"), arg("bias"),
           exact("state"), exact("spikes"))
      .def("unpack", &Core::unpack, arg("maps"), arg("extent"), exact("bits"), arg("value"), exact("values"))
      .def("forward", &Core::forward, arg("geometry"), arg("neuron"), arg("extent"), exact("spikes"), exact("weight"),
           arg("scale"), exact("keep"), exact("v"), exact("c"), exact("potentials"), exact("emitted"))
      .def("fire", &Core::fire, arg("units"), arg("neuron"), arg("extent"), exact("keep"), exact("v"), exact("c"),
           exact("potentials"), exact("emitted"))
      .def("currents", &Core::currents, arg("geometry"), arg("extent"), exact("spikes"), exact("weight"), arg("scale"),
           exact("result"), exact("switches"))
      .def("errors", &Core::errors, arg("units"), arg("neuron"), arg("extent"), exact("potentials"), exact("z"),
           exact("keep"), arg("scale"), exact("transferred"), arg("rectify"), arg("transfer_scale"))
      .def("weight_gradient", &Core::weight_gradient, arg("geometry"), arg("extent"), exact("spikes"), exact("errors"),
           exact("switches"), exact("result"))
      .def("adjoint", &Core::adjoint, arg("geometry"), arg("extent"), arg("vectors"), exact("weight"), exact("errors"),
           exact("switches"), exact("result"))
      .def("fold", &Core::fold, arg("fold"), exact("weight"), exact("rows"))
      .def("unfold", &Core::unfold, arg("fold"), exact("rows"), exact("weight"))
      .def("panels", &Core::panels, arg("geometry"), arg("vectors"), exact("rows"), exact("result"));
}

// A constructor whose numbers are checked once, so that no kernel has to.
template <class Numbers, class... Of>
auto checked() {
  return py::init([](Of... numbers) { return dalton::checked(Numbers{numbers...}); });
}

}  // namespace

PYBIND11_MODULE(_kernel, m) {
  m.doc() = "Compiled kernels of dalton: spikes as bits, fused neurons, adjoints.";
  m.def("isa", &core::isa, "Instruction set in use: the best, or what REPROKIT_ISA names.");
  m.def("has_isa", &core::has_isa, py::arg("name"));
  m.def("all_isa", &core::all_isa, "Instruction sets of this processor, best first.");
  using I = Index;
  py::class_<Geometry>(m, "Geometry").def(checked<Geometry, I, I, I, I, I, I, I, I, I, I, I>());
  py::class_<Fold>(m, "Fold").def(checked<Fold, I, I, I, I, I, I, I, I>());
  py::class_<Extent>(m, "Extent").def(checked<Extent, I, I, int>());
  py::class_<Maps>(m, "Maps").def(checked<Maps, I, I, I, I>());
  m.def("pack", &dalton::pack_bytes, py::arg("maps"), py::arg("extent"), exact("bytes"), exact("bits"));
  bind<float>(m, "CoreFloat", "NeuronFloat");
  bind<double>(m, "CoreDouble", "NeuronDouble");
}
