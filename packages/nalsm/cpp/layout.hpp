// Weights as the caller lists them, sorted by (post, pre), and as the simulation walks them.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/threads.hpp"
#include "liquid.hpp"
#include "network.hpp"

namespace nalsm {

// In row order, for plastic liquids.
inline std::vector<float> gather(const Network& net, const float* weights, int threads = 1) {
  constexpr std::size_t stretch = std::size_t{1} << 16;
  std::vector<float> own(net.synapses());
  const auto pieces = static_cast<std::int64_t>((own.size() + stretch - 1) / stretch);
  const auto copy = [&](std::int64_t piece) {
    const std::size_t first = static_cast<std::size_t>(piece) * stretch, end = std::min(first + stretch, own.size());
    for (std::size_t s = first; s < end; ++s) own[s] = weights[net.order[s]];
  };
  core::share(threads, pieces, [&] { return copy; }, [] {});
  return own;
}

inline void scatter(const Network& net, const std::vector<float>& own, float* weights) {
  for (std::size_t s = 0; s < own.size(); ++s) weights[net.order[s]] = own[s];
}

// A column with absent synapses as zeros takes one vector operation for sixteen neurons, so it pays early.
inline bool dense(const Network& net) {
  const auto cells = static_cast<std::size_t>(net.inputs) * static_cast<std::size_t>(net.liquid());
  return net.input.pre.size() * 12 > cells && cells < (std::size_t{1} << 26);
}

// In column order, for fixed liquids; the input as a table with zeros where `table`.
class Columns {
 public:
  Columns(const Network& net, const std::vector<float>& weights, bool table) : table_(table) {
    const auto fixed = net.recurrent_synapses(), row = whole_lines(static_cast<std::size_t>(net.liquid()));
    for (const auto s : net.recurrent.column_synapse) recurrent_.push_back(weights[static_cast<std::size_t>(s)]);
    if (table) input_.resize(static_cast<std::size_t>(net.inputs) * row + line_floats, 0.f);
    float* first = input();
    for (std::size_t c = 0; c < static_cast<std::size_t>(net.inputs); ++c)
      for (auto k = static_cast<std::size_t>(net.input.column_begin[c]);
           k < static_cast<std::size_t>(net.input.column_begin[c + 1]); ++k) {
        const float w = weights[fixed + static_cast<std::size_t>(net.input.column_synapse[k])];
        if (table)
          first[c * row + static_cast<std::size_t>(net.input.column_post[k])] = w;
        else
          input_.push_back(w);
      }
  }
  Columns(Columns&&) = default;  // a copy would begin elsewhere in a cache line

  Weights weights() { return {recurrent_.data(), input(), table_}; }

 private:
  // A table begins with a cache line.
  float* input() {
    constexpr std::size_t line = line_floats * sizeof(float);
    const std::size_t over = reinterpret_cast<std::uintptr_t>(input_.data()) % line;
    return table_ && over ? input_.data() + (line - over) / sizeof(float) : input_.data();
  }

  bool table_;
  std::vector<float> recurrent_, input_;
};

inline Weights parts(const Network& net, std::vector<float>& weights) {
  return {weights.data(), weights.data() + net.recurrent_synapses(), false};
}

}  // namespace nalsm
