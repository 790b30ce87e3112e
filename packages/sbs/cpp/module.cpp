// Registers the module; what is called is in bindings.hpp.
#include <pybind11/pybind11.h>

#include "bindings.hpp"

namespace py = pybind11;

PYBIND11_MODULE(_kernel, m, py::mod_gil_not_used()) {
  m.doc() = "Fused spike sampling and h dynamics of SbS layers.";
  m.def("infer", &sbs::infer, py::arg("image").noconvert(), py::arg("geometry"), py::arg("weights").noconvert(),
        py::arg("h_initial").noconvert(), py::arg("epsilon_t").noconvert(), py::arg("epsilon_xy").noconvert(),
        py::arg("forgetting"), py::arg("one_hot"), py::arg("seed"), py::arg("first_position"),
        py::arg("uniform").noconvert(), py::arg("lower"), py::arg("spikes").noconvert(), py::arg("keep_spikes"),
        py::arg("threads"), py::arg("isa"));
  m.def("patches", &sbs::patches, py::arg("image").noconvert(), py::arg("geometry"), py::arg("threads"));
  m.def("isa", &core::isa, "Instruction set in use: the best, or what REPROKIT_ISA names.");
  m.def("has_isa", &core::has_isa, py::arg("name"));
  m.def("all_isa", &core::all_isa, "Instruction sets of this processor, best first.");
}
