// What the bound classes share: settings and results as Python has them, and its signals.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>

#include "liquid.hpp"
#include "source.hpp"

namespace nalsm {

// Lets Python handle its signals and throws what a handler raised, for example KeyboardInterrupt.
inline void handle_signals() {
  const pybind11::gil_scoped_acquire acquire;
  if (PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
}

inline void check_duration(std::int64_t duration) {
  need(duration >= 1 && duration < (std::int64_t{1} << 30), "duration is out of range");
}

inline Settings settings_from(const pybind11::dict& d) {
  Settings s;
  const int rule = d["plasticity"].cast<int>();
  need(rule >= 0 && rule <= 3, "plasticity is not a rule");
  s.duration = d["duration"].cast<int>();
  check_duration(s.duration);
  s.threshold = d["threshold"].cast<float>();
  s.leak = d["leak"].cast<float>();
  s.synapse_decay = d["synapse_decay"].cast<float>();
  s.synapse_gain = d["synapse_gain"].cast<float>();
  s.input_current = d["input_current"].cast<float>();
  s.refractory = d["refractory"].cast<int>();
  s.plasticity = static_cast<Plasticity>(rule);
  s.potentiation = d["potentiation"].cast<float>();
  s.depression = d["depression"].cast<float>();
  s.trace_increment = d["trace_increment"].cast<float>();
  s.trace_decay = d["trace_decay"].cast<float>();
  s.weight_limit = d["weight_limit"].cast<float>();
  s.rate_decay = d["rate_decay"].cast<float>();
  s.astrocyte_weight = d["astrocyte_weight"].cast<float>();
  s.astrocyte_bias = d["astrocyte_bias"].cast<float>();
  s.astrocyte_tau = d["astrocyte_tau"].cast<float>();
  s.calcium_tau = d["calcium_tau"].cast<float>();
  s.calcium_threshold = d["calcium_threshold"].cast<float>();
  s.calcium_range = d["calcium_range"].cast<float>();
  return s;
}

// The arrays that presentations leave behind.
struct Result {
  Array<std::int32_t> counts;  // (presentation, liquid)
  Array<std::uint8_t> raster;  // (presentation, duration, neuron), without presentations where not recorded
  Array<float> astrocyte;      // (presentation, duration)

  Result(const Network& net, std::int64_t presentations, int duration, bool record)
      : counts({presentations, std::int64_t{net.liquid()}}),
        raster({record ? presentations : 0, std::int64_t{duration}, std::int64_t{net.neurons()}}),
        astrocyte({presentations, std::int64_t{duration}}),
        net_(net),
        duration_(duration),
        counts_(counts.mutable_data()),
        raster_(record ? raster.mutable_data() : nullptr),
        astrocyte_(astrocyte.mutable_data()) {
    if (record) std::fill_n(raster_, raster.size(), std::uint8_t{0});
  }

  Output output(std::int64_t k) const {
    return {counts_ + k * net_.liquid(), raster_ ? raster_ + k * duration_ * net_.neurons() : nullptr,
            astrocyte_ + k * duration_, nullptr};
  }

  pybind11::dict dict() const {
    pybind11::dict d;
    d["counts"] = counts;
    d["raster"] = raster;
    d["astrocyte"] = astrocyte;
    return d;
  }

 private:
  const Network& net_;
  std::int64_t duration_;
  std::int32_t* counts_;
  std::uint8_t* raster_;
  float* astrocyte_;
};

}  // namespace nalsm
