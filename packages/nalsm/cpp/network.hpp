// The wiring as the simulation walks it: synapses between liquid neurons, and synapses from input neurons. In each
// block synapses are sorted by postsynaptic neuron (row), then presynaptic neuron (column); a column index lists
// the synapses that leave each neuron.
#pragma once
#include <cstdint>
#include <vector>

namespace nalsm {

using Indices = std::vector<std::int32_t>;

struct Block {
  Indices pre, row_begin;                             // (synapse), (row + 1)
  Indices column_begin, column_synapse, column_post;  // (column + 1), (synapse), (synapse)

  std::int32_t columns() const { return static_cast<std::int32_t>(column_begin.size()) - 1; }

  // Index synapses listed by column: `post_of` row of each, `begin` (column + 1). Within a row columns ascend.
  void build(std::int32_t rows, const Indices& begin, const Indices& post_of) {
    row_begin.assign(static_cast<std::size_t>(rows) + 1, 0);
    column_begin = begin;
    column_post = post_of;
    column_synapse.resize(post_of.size());
    pre.resize(post_of.size());
    for (const auto i : post_of) ++row_begin[static_cast<std::size_t>(i) + 1];
    for (std::size_t i = 1; i < row_begin.size(); ++i) row_begin[i] += row_begin[i - 1];
    cursor_.assign(row_begin.begin(), row_begin.end() - 1);
    for (std::int32_t j = 0; j < columns(); ++j)
      for (auto k = static_cast<std::size_t>(begin[static_cast<std::size_t>(j)]);
           k < static_cast<std::size_t>(begin[static_cast<std::size_t>(j) + 1]); ++k) {
        const std::int32_t slot = cursor_[static_cast<std::size_t>(post_of[k])]++;
        column_synapse[k] = slot;
        pre[static_cast<std::size_t>(slot)] = j;
      }
  }

 private:
  Indices cursor_;
};

// Neurons: excitatory, inhibitory, input. `order` gives the place of each synapse, recurrent ones first, in the
// caller's lists, which are sorted by (post, pre).
struct Network {
  std::int32_t excitatory = 0, inhibitory = 0, inputs = 0;
  Block recurrent, input;
  Indices row_inhibitory;  // (liquid): where the inhibitory synapses of a recurrent row begin
  Indices order;

  std::int32_t liquid() const { return excitatory + inhibitory; }
  std::int32_t neurons() const { return liquid() + inputs; }
  std::size_t recurrent_synapses() const { return recurrent.pre.size(); }
  std::size_t synapses() const { return order.size(); }

  Network(std::int32_t excitatory_count, std::int32_t inhibitory_count, std::int32_t input_count,
          const std::int32_t* post, const std::int32_t* pre, std::int64_t count)
      : excitatory(excitatory_count), inhibitory(inhibitory_count), inputs(input_count) {
    collect(recurrent, post, pre, count, 0, liquid());
    collect(input, post, pre, count, liquid(), neurons());
    for (std::size_t i = 0; i + 1 < recurrent.row_begin.size(); ++i) {
      std::int32_t k = recurrent.row_begin[i];
      while (k < recurrent.row_begin[i + 1] && recurrent.pre[static_cast<std::size_t>(k)] < excitatory) ++k;
      row_inhibitory.push_back(k);
    }
  }

 private:
  void collect(Block& block, const std::int32_t* post, const std::int32_t* pre, std::int64_t count, std::int32_t first,
               std::int32_t last) {
    Indices begin(static_cast<std::size_t>(last - first) + 1, 0);
    for (std::int64_t k = 0; k < count; ++k)
      if (pre[k] >= first && pre[k] < last) {
        ++begin[static_cast<std::size_t>(pre[k] - first) + 1];
        order.push_back(static_cast<std::int32_t>(k));
      }
    for (std::size_t j = 1; j < begin.size(); ++j) begin[j] += begin[j - 1];
    Indices cursor(begin.begin(), begin.end() - 1), post_of(static_cast<std::size_t>(begin.back()));
    for (std::int64_t k = 0; k < count; ++k)
      if (pre[k] >= first && pre[k] < last)
        post_of[static_cast<std::size_t>(cursor[static_cast<std::size_t>(pre[k] - first)]++)] = post[k];
    block.build(liquid(), begin, post_of);
  }
};

}  // namespace nalsm
