// One sample that continues from call to call: nothing is reset in between.
#pragma once
#include <algorithm>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "bindings.hpp"
#include "core.hpp"
#include "layout.hpp"

namespace nalsm {

class Stream {
 public:
  Stream(const Core& core, const pybind11::dict& options, const Array<float>& weights, const Array<float>& trace,
         const Array<float>& calcium)
      : net_(core.network()), settings_(settings_from(options)), liquid_(net_, settings_, core.loops()) {
    need_shape(weights, {static_cast<std::int64_t>(net_.synapses())}, "weights");
    need_shape(trace, {net_.neurons()}, "trace");
    need_shape(calcium, {net_.neurons()}, "calcium");
    weights_ = gather(net_, weights.data());
    if (!plastic()) columns_.emplace(net_, weights_, dense(net_));
    trace_.assign(trace.data(), trace.data() + trace.size());
    calcium_.assign(calcium.data(), calcium.data() + calcium.size());
    liquid_.clear(net_.input);
  }

  // The next `duration` ms: the one presentation of `source`. An interrupt leaves everything as it was.
  pybind11::dict run(const Source& source, int duration, bool record) {
    const auto lock = alone();
    check_duration(duration);
    source.check(1, net_.inputs, duration);
    const Result result(net_, 1, duration, record);
    {
      const pybind11::gil_scoped_release release;
      source.fill(0, net_, duration, events_);
      if (duration <= unwatched)
        advance(duration, result.output(0), nullptr);
      else
        advance_or_go_back(duration, result.output(0));
      elapsed_ += duration;  // here, as the caller may be interrupted before it has counted
    }
    return result.dict();
  }

  std::int64_t elapsed() const {
    const auto lock = alone();
    return elapsed_;
  }

  // Weights, trace and calcium as the caller lists them, and the memory of the liquid, by name.
  pybind11::dict state() const {
    const auto lock = alone();
    const Memory m = liquid_.memory();
    Array<float> weights(static_cast<pybind11::ssize_t>(weights_.size()));
    scatter(net_, weights_, weights.mutable_data());
    pybind11::dict d;
    d["weights"] = weights;
    d["trace"] = array(trace_);
    d["calcium"] = array(calcium_);
    d["potential"] = array(m.potential);
    d["refractory"] = array(m.refractory);
    d["residue"] = array(m.residue);
    d["current"] = array(m.current);
    d["rates"] = array({m.potentiation, m.depression, m.astrocyte_weight, m.astrocyte_bias});
    return d;
  }

  void restore(const Array<float>& potential, const Array<float>& refractory, const Array<float>& residue,
               const Array<float>& current, const Array<float>& rates, std::int64_t elapsed) {
    const auto lock = alone();
    need(elapsed >= 0, "elapsed is negative");
    for (const auto* each : {&potential, &refractory, &residue}) need_shape(*each, {net_.neurons()}, "the state");
    need_shape(current, {net_.liquid()}, "current");
    need_shape(rates, {4}, "rates");
    const float* r = rates.data();
    liquid_.remember({vector(potential), vector(refractory), vector(residue), vector(current), r[0], r[1], r[2], r[3]});
    elapsed_ = elapsed;
  }

 private:
  static constexpr int unwatched = 64;  // ms: too short to be interrupted, so no copy is needed to go back to

  // Never waits: a thread that holds the lock may need Python to let it continue.
  std::unique_lock<std::mutex> alone() const {
    std::unique_lock<std::mutex> lock(busy_, std::try_to_lock);
    need(lock.owns_lock(), "the stream runs in another thread");
    return lock;
  }

  bool plastic() const { return settings_.plasticity != Plasticity::none; }

  void advance(int duration, const Output& out, Watch* watch) {
    const Weights weights = plastic() ? parts(net_, weights_) : columns_->weights();
    liquid_.advance(events_, duration, weights, trace_.data(), calcium_.data(), out, watch);
  }

  void advance_or_go_back(int duration, const Output& out) {
    const Memory memory = liquid_.memory();
    const auto weights = weights_, trace = trace_, calcium = calcium_;
    Watch watch(handle_signals);
    try {
      advance(duration, out, &watch);
    } catch (...) {
      liquid_.remember(memory);
      weights_ = weights;
      trace_ = trace;
      calcium_ = calcium;
      throw;
    }
  }

  static Array<float> array(const std::vector<float>& values) {
    return Array<float>(static_cast<pybind11::ssize_t>(values.size()), values.data());
  }

  static std::vector<float> vector(const Array<float>& values) {
    return {values.data(), values.data() + values.size()};
  }

  const Network& net_;
  Settings settings_;
  Liquid liquid_;
  EventList events_;
  std::vector<float> weights_, trace_, calcium_;  // weights in row order
  std::optional<Columns> columns_;                // where they are fixed
  std::int64_t elapsed_ = 0;                      // ms
  mutable std::mutex busy_;
};

}  // namespace nalsm
