// Input events of presentations as Python gives them.
#pragma once
#include <pybind11/numpy.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "checks.hpp"
#include "events.hpp"
#include "network.hpp"
#include "watch.hpp"

namespace nalsm {

template <class T>
using Array = pybind11::array_t<T, pybind11::array::c_style>;

// Refuses an array of another shape, or one whose values do not lie where their type may.
template <class T>
void need_shape(const Array<T>& array, const std::vector<std::int64_t>& shape, const char* name) {
  bool same = array.ndim() == static_cast<pybind11::ssize_t>(shape.size());
  for (std::size_t k = 0; same && k < shape.size(); ++k)
    same = array.shape(static_cast<pybind11::ssize_t>(k)) == static_cast<pybind11::ssize_t>(shape[k]);
  std::string wanted;
  for (const auto size : shape) wanted += (wanted.empty() ? "" : ", ") + std::to_string(size);
  need(same, std::string(name) + " needs shape (" + wanted + ")");
  need(reinterpret_cast<std::uintptr_t>(array.data()) % alignof(T) == 0, std::string(name) + " is not aligned");
}

// Where the events of a presentation come from: firing probabilities (drawn here) or ready lists.
class Source {
 public:
  Source(std::optional<Array<double>> probability, std::optional<Array<std::int64_t>> first,
         std::optional<Array<std::int32_t>> channels, Array<std::int64_t> sample, std::uint64_t seed)
      : probability_(std::move(probability)),
        first_(std::move(first)),
        channels_(std::move(channels)),
        sample_(std::move(sample)),
        seed_(seed) {
    need(probability_ || (first_ && channels_), "no probabilities and no events");
    need(!probability_ || (!first_ && !channels_), "both probabilities and events");
  }

  // Every presentation of `duration` ms on `inputs` channels can be filled.
  void check(std::int64_t presentations, std::int64_t inputs, std::int64_t duration) const {
    need(presentations >= 0, "presentations is negative");
    need_shape(sample_, {presentations}, "sample");
    if (probability_) return need_shape(*probability_, {presentations, inputs}, "probability");
    need_shape(*first_, {presentations, duration + 1}, "first");
    need_shape(*channels_, {channels_->size()}, "channels");
    check_events(first_->data(), presentations, duration, channels_->data(), channels_->size(), inputs);
  }

  void fill(std::int64_t k, const Network& net, int duration, EventList& events, Watch* watch = nullptr) const {
    if (probability_) {
      events.draw(probability_->data() + k * net.inputs, net.inputs, duration, seed_,
                  static_cast<std::uint64_t>(sample_.data()[k]), watch);
      return;
    }
    const std::int64_t* begin = first_->data() + k * (std::int64_t{duration} + 1);
    events.first.resize(static_cast<std::size_t>(duration) + 1);
    for (int t = 0; t <= duration; ++t) events.first[static_cast<std::size_t>(t)] = begin[t] - begin[0];
    events.channels.assign(channels_->data() + begin[0], channels_->data() + begin[duration]);
  }

 private:
  std::optional<Array<double>> probability_;  // (presentation, input)
  std::optional<Array<std::int64_t>> first_;  // (presentation, duration + 1), offsets into channels
  std::optional<Array<std::int32_t>> channels_;
  Array<std::int64_t> sample_;  // (presentation): index that keys the random numbers
  std::uint64_t seed_ = 0;
};

}  // namespace nalsm
