// Input events of one presentation, sorted by millisecond: given as lists, or drawn from firing probabilities.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "random.hpp"
#include "watch.hpp"

namespace nalsm {

struct EventList {
  std::vector<std::int64_t> first;     // (duration + 1): where the events of each millisecond begin
  std::vector<std::int32_t> channels;  // input channel of each event; the same channel may occur twice

  // Bernoulli rate code: each millisecond, channel c emits an event with probability p[c]. The waiting times
  // between events are geometric, so only events cost time: gap = floor(ln u / ln(1 - p)). Ends early, with no use,
  // where `watch` says so.
  void draw(const double* probability, std::int64_t channel_count, int duration, std::uint64_t seed,
            std::uint64_t sample, Watch* watch = nullptr) {
    times_.clear();
    unsorted_.clear();
    first.assign(static_cast<std::size_t>(duration) + 1, 0);
    std::size_t looked = stretch;  // events at which to look at the watch again
    for (std::int64_t c = 0; c < channel_count; ++c) {
      const double p = probability[c];
      if (!(p > 0.0)) continue;
      UniformStream stream(seed, sample, static_cast<std::uint32_t>(c));
      const double scale = p < 1.0 ? 1.0 / std::log1p(-p) : 0.0;
      double t = std::floor(std::log(stream.next()) * scale);
      while (t < duration) {
        if (watch && times_.size() >= looked) {
          if (!watch->glance()) return;
          looked = times_.size() + stretch;
        }
        const double stop = std::min<double>(duration, t + stretch);
        while (t < stop) {
          times_.push_back(static_cast<std::int32_t>(t));
          unsorted_.push_back(static_cast<std::int32_t>(c));
          ++first[static_cast<std::size_t>(t) + 1];
          t += 1.0 + std::floor(std::log(stream.next()) * scale);
        }
      }
    }
    for (std::size_t t = 1; t < first.size(); ++t) first[t] += first[t - 1];
    channels.resize(unsorted_.size());
    cursor_.assign(first.begin(), first.end() - 1);
    for (std::size_t k = 0; k < unsorted_.size(); ++k)
      channels[static_cast<std::size_t>(cursor_[static_cast<std::size_t>(times_[k])]++)] = unsorted_[k];
  }

 private:
  static constexpr int stretch = 1 << 14;  // events or milliseconds between two looks at the watch, some 0.3 ms

  std::vector<std::int32_t> times_, unsorted_;
  std::vector<std::int64_t> cursor_;
};

}  // namespace nalsm
