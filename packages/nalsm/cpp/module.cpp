// Python bindings: arrays in, arrays out. Shapes, types and indices are checked here, meaning is checked in Python.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "core.hpp"
#include "stream.hpp"

namespace py = pybind11;
using nalsm::Array;
using nalsm::Core;
using nalsm::Source;
using nalsm::Stream;

PYBIND11_MODULE(_kernel, m) {
  m.doc() = "Event-driven liquid state machine core.";
  m.def("isa", &core::isa, "Instruction set in use: the best, or what REPROKIT_ISA names.");
  m.def("has_isa", &core::has_isa, py::arg("name"));
  m.def("all_isa", &core::all_isa, "Instruction sets of this processor, best first.");
  py::class_<Source>(m, "Source")
      .def(py::init<std::optional<Array<double>>, std::optional<Array<std::int64_t>>,
                    std::optional<Array<std::int32_t>>, Array<std::int64_t>, std::uint64_t>(),
           py::arg("probability"), py::arg("first"), py::arg("channels"), py::arg("sample"), py::arg("seed"));
  py::class_<Core>(m, "Core")
      .def(py::init<std::int32_t, std::int32_t, std::int32_t, const Array<std::int32_t>&, const Array<std::int32_t>&,
                    const std::string&>(),
           py::arg("excitatory"), py::arg("inhibitory"), py::arg("inputs"), py::arg("post"), py::arg("pre"),
           py::arg("isa"))
      .def("sequence", &Core::sequence, py::arg("options"), py::arg("source"), py::arg("presentations"),
           py::arg("weights").noconvert(), py::arg("trace").noconvert(), py::arg("calcium").noconvert(),
           py::arg("carry"), py::arg("record"))
      .def("independent", &Core::independent, py::arg("options"), py::arg("source"), py::arg("presentations"),
           py::arg("weights"), py::arg("trace").noconvert(), py::arg("record"), py::arg("threads"),
           py::arg("final_weights").noconvert() = py::none());
  py::class_<Stream>(m, "Stream")
      .def(py::init<const Core&, const py::dict&, const Array<float>&, const Array<float>&, const Array<float>&>(),
           py::keep_alive<1, 2>(), py::arg("core"), py::arg("options"), py::arg("weights"), py::arg("trace"),
           py::arg("calcium"))
      .def("run", &Stream::run, py::arg("source"), py::arg("duration"), py::arg("record"))
      .def("state", &Stream::state)
      .def_property_readonly("elapsed", &Stream::elapsed)
      .def("restore", &Stream::restore, py::arg("potential"), py::arg("refractory"), py::arg("residue"),
           py::arg("current"), py::arg("rates"), py::arg("elapsed"));
}
