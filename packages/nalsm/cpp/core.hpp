// A network, ready to present samples.
#pragma once
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>

#include "bindings.hpp"
#include "checks.hpp"
#include "common/threads.hpp"
#include "dispatch.hpp"
#include "layout.hpp"
#include "worker.hpp"

namespace nalsm {

class Core {
 public:
  Core(std::int32_t excitatory, std::int32_t inhibitory, std::int32_t inputs, const Array<std::int32_t>& post,
       const Array<std::int32_t>& pre, const std::string& isa)
      : net_(checked(excitatory, inhibitory, inputs, post, pre)), loops_(loops_of(isa)) {}

  const Network& network() const { return net_; }
  const Loops& loops() const { return loops_; }

  // Presentations in sequence, weights (and trace, calcium) carried on; all three changed in place.
  pybind11::dict sequence(const pybind11::dict& options, const Source& source, std::int64_t presentations,
                          Array<float> weights, Array<float> trace, Array<float> calcium, bool carry,
                          bool record) const {
    const auto settings = settings_from(options);
    source.check(presentations, net_.inputs, settings.duration);
    need_shape(weights, {static_cast<std::int64_t>(net_.synapses())}, "weights");
    need_shape(trace, {net_.neurons()}, "trace");
    need_shape(calcium, {net_.neurons()}, "calcium");
    const Result result(net_, presentations, settings.duration, record);
    float *w = weights.mutable_data(), *x = trace.mutable_data(), *c = calcium.mutable_data();
    {
      const pybind11::gil_scoped_release release;
      Watch watch(handle_signals);
      Liquid liquid(net_, settings, loops_);
      EventList events;
      const bool plastic = settings.plasticity != Plasticity::none, table = !plastic && dense(net_);
      auto own = gather(net_, w);
      std::optional<Columns> columns;
      if (!plastic) columns.emplace(net_, own, table);
      const Weights walked = plastic ? parts(net_, own) : columns->weights();
      for (std::int64_t k = 0; k < presentations; ++k) {
        source.fill(k, net_, settings.duration, events, &watch);
        if (!carry) std::fill(x, x + net_.neurons(), 0.f);
        liquid.present(net_.input, events, walked, x, c, result.output(k), &watch);
      }
      if (plastic) scatter(net_, own, w);
    }
    return result.dict();
  }

  // Presentations side by side, each from the same start weights; trace (presentation, neuron) in place.
  pybind11::dict independent(const pybind11::dict& options, const Source& source, std::int64_t presentations,
                             const Array<float>& weights, Array<float> trace, bool record, int threads,
                             std::optional<Array<float>> final_weights) const {
    const auto settings = settings_from(options);
    const auto synapses = static_cast<std::int64_t>(net_.synapses());
    const bool plastic = settings.plasticity != Plasticity::none, table = !plastic && dense(net_);
    need(settings.plasticity != Plasticity::calcium, "calcium is carried in sequences only");
    need(threads >= 1, "threads is below 1");
    source.check(presentations, net_.inputs, settings.duration);
    need_shape(weights, {synapses}, "weights");
    need_shape(trace, {presentations, net_.neurons()}, "trace");
    if (final_weights) need_shape(*final_weights, {presentations, synapses}, "final_weights");
    const Result result(net_, presentations, settings.duration, record);
    const auto start = gather(net_, weights.data(), threads);
    std::optional<Columns> columns;
    if (!plastic) columns.emplace(net_, start, table);
    float* x = trace.mutable_data();
    float* kept = final_weights ? final_weights->mutable_data() : nullptr;
    {
      const pybind11::gil_scoped_release release;
      Watch watch(handle_signals);
      const auto make_worker = [&] {
        return [&, worker = Worker(net_, settings, loops_)](std::int64_t k) mutable {
          source.fill(k, net_, settings.duration, worker.events, &watch);
          if (plastic)
            worker.present_plastic(start, x + k * net_.neurons(), result.output(k),
                                   kept ? kept + k * synapses : nullptr, watch);
          else
            worker.present_fixed(columns->weights(), result.output(k), watch);
        };
      };
      core::share(threads, presentations, make_worker, [] {});
    }
    return result.dict();
  }

 private:
  static Network checked(std::int32_t excitatory, std::int32_t inhibitory, std::int32_t inputs,
                         const Array<std::int32_t>& post, const Array<std::int32_t>& pre) {
    need_shape(post, {post.size()}, "post");
    need_shape(pre, {post.size()}, "pre");
    check_wiring(excitatory, inhibitory, inputs, post.data(), pre.data(), post.size());
    return {excitatory, inhibitory, inputs, post.data(), pre.data(), post.size()};
  }

  Network net_;
  const Loops& loops_;
};

}  // namespace nalsm
