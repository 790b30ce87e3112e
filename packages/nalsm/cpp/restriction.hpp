// A sample uses few of the input channels. The others carry no spike and no trace, so their synapses neither act nor
// change: the sample is simulated on the channels it uses, with the same result.
#pragma once
#include "events.hpp"
#include "network.hpp"

namespace nalsm {

struct Restriction {
  Block input;      // synapses of the channels in use, renumbered
  Indices channel;  // (used): their numbers in the network
  Indices place;    // (synapse): place of each synapse in the network's input block

  // Choose the channels that have events or a carried trace, and renumber the events; then their synapses as well.
  void choose(const Network& net, EventList& events, const float* input_trace) {
    number(net, events, input_trace);
    gather(net);
  }

  // Without synapses; `input_trace` may be null: nothing is carried.
  void number(const Network& net, EventList& events, const float* input_trace = nullptr) {
    number_.assign(static_cast<std::size_t>(net.inputs), -1);
    for (const auto c : events.channels) number_[static_cast<std::size_t>(c)] = 0;
    channel.clear();
    for (std::int32_t c = 0; c < net.inputs; ++c)
      if (number_[static_cast<std::size_t>(c)] == 0 || (input_trace && input_trace[c] != 0.f)) {
        number_[static_cast<std::size_t>(c)] = static_cast<std::int32_t>(channel.size());
        channel.push_back(c);
      }
    for (auto& c : events.channels) c = number_[static_cast<std::size_t>(c)];
  }

 private:
  void gather(const Network& net) {
    begin_.assign(1, 0);
    post_.clear();
    for (const auto c : channel) {
      const auto first = net.input.column_begin[static_cast<std::size_t>(c)];
      const auto last = net.input.column_begin[static_cast<std::size_t>(c) + 1];
      post_.insert(post_.end(), net.input.column_post.begin() + first, net.input.column_post.begin() + last);
      begin_.push_back(static_cast<std::int32_t>(post_.size()));
    }
    input.build(net.liquid(), begin_, post_);
    place.resize(post_.size());
    std::size_t k = 0;
    for (const auto c : channel)
      for (auto s = net.input.column_begin[static_cast<std::size_t>(c)];
           s < net.input.column_begin[static_cast<std::size_t>(c) + 1]; ++s, ++k)
        place[static_cast<std::size_t>(input.column_synapse[k])] =
            net.input.column_synapse[static_cast<std::size_t>(s)];
  }

  Indices number_, begin_, post_;
};

}  // namespace nalsm
