// What one thread needs to present samples that start from the same weights.
#pragma once
#include <algorithm>
#include <vector>

#include "liquid.hpp"
#include "restriction.hpp"
#include "watch.hpp"

namespace nalsm {

class Worker {
 public:
  EventList events;

  Worker(const Network& net, const Settings& settings, const Loops& loops) : net_(net), liquid_(net, settings, loops) {}

  void present_fixed(Weights weights, Output out, Watch& watch) {
    used_.number(net_, events);
    out.channel = used_.channel.data();
    liquid_.present({net_.input, used_.channel}, events, weights, nullptr, nullptr, out, &watch);
  }

  void present_plastic(const std::vector<float>& start, float* trace, Output out, float* kept, Watch& watch) {
    const auto rows = static_cast<std::size_t>(net_.liquid()), fixed = net_.recurrent_synapses();
    used_.choose(net_, events, trace + rows);
    own_.assign(start.begin(), start.begin() + static_cast<std::ptrdiff_t>(fixed));
    for (const auto s : used_.place) own_.push_back(start[fixed + static_cast<std::size_t>(s)]);
    trace_.assign(trace, trace + rows);
    for (const auto c : used_.channel) trace_.push_back(trace[rows + static_cast<std::size_t>(c)]);
    out.channel = used_.channel.data();
    liquid_.present(used_.input, events, {own_.data(), own_.data() + fixed, false}, trace_.data(), nullptr, out,
                    &watch);
    std::copy_n(trace_.begin(), rows, trace);
    for (std::size_t c = 0; c < used_.channel.size(); ++c)
      trace[rows + static_cast<std::size_t>(used_.channel[c])] = trace_[rows + c];
    if (kept) keep(start, kept);
  }

 private:
  void keep(const std::vector<float>& start, float* kept) const {
    const auto fixed = net_.recurrent_synapses();
    for (std::size_t s = 0; s < start.size(); ++s) kept[net_.order[s]] = start[s];
    for (std::size_t s = 0; s < fixed; ++s) kept[net_.order[s]] = own_[s];
    for (std::size_t s = fixed; s < own_.size(); ++s)
      kept[net_.order[fixed + static_cast<std::size_t>(used_.place[s - fixed])]] = own_[s];
  }

  const Network& net_;
  Liquid liquid_;
  Restriction used_;
  std::vector<float> own_, trace_;
};

}  // namespace nalsm
