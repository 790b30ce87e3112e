// Weights as the caller lists them, sorted by (post, pre), and as the simulation walks them.
#pragma once
#include <cstdint>
#include <vector>

#include "liquid.hpp"
#include "network.hpp"

namespace nalsm {

// In row order, for plastic liquids.
inline std::vector<float> gather(const Network& net, const float* weights) {
  std::vector<float> own(net.synapses());
  for (std::size_t s = 0; s < own.size(); ++s) own[s] = weights[net.order[s]];
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
inline std::vector<float> by_column(const Network& net, const std::vector<float>& weights, bool table) {
  const auto fixed = net.recurrent_synapses(), liquid = static_cast<std::size_t>(net.liquid());
  std::vector<float> own;
  for (const auto s : net.recurrent.column_synapse) own.push_back(weights[static_cast<std::size_t>(s)]);
  if (table) own.resize(fixed + static_cast<std::size_t>(net.inputs) * liquid, 0.f);
  for (std::size_t c = 0; c < static_cast<std::size_t>(net.inputs); ++c)
    for (auto k = static_cast<std::size_t>(net.input.column_begin[c]);
         k < static_cast<std::size_t>(net.input.column_begin[c + 1]); ++k) {
      const float w = weights[fixed + static_cast<std::size_t>(net.input.column_synapse[k])];
      if (table)
        own[fixed + c * liquid + static_cast<std::size_t>(net.input.column_post[k])] = w;
      else
        own.push_back(w);
    }
  return own;
}

inline Weights parts(const Network& net, std::vector<float>& weights, bool table = false) {
  return {weights.data(), weights.data() + net.recurrent_synapses(), table};
}

}  // namespace nalsm
