// The wiring as the simulation walks it. Neurons: excitatory, inhibitory, input. Synapses are sorted by
// postsynaptic neuron, then presynaptic neuron, so each row splits into three runs: from excitatory,
// from inhibitory and from input neurons. A column index lists the synapses that leave each neuron.
#pragma once
#include <cstdint>
#include <vector>

namespace nalsm {

struct Network {
    std::int32_t excitatory = 0, inhibitory = 0, inputs = 0;
    std::vector<std::int32_t> pre, post;                       // (synapse)
    std::vector<std::int32_t> row_begin, row_inhibitory, row_input;  // (liquid + 1), (liquid), (liquid)
    std::vector<std::int32_t> column_begin, column_synapse, column_post;

    std::int32_t liquid() const { return excitatory + inhibitory; }
    std::int32_t neurons() const { return liquid() + inputs; }

    Network(std::int32_t excitatory_count, std::int32_t inhibitory_count, std::int32_t input_count,
            const std::int32_t* post_of, const std::int32_t* pre_of, std::int64_t synapses)
        : excitatory(excitatory_count), inhibitory(inhibitory_count), inputs(input_count),
          pre(pre_of, pre_of + synapses), post(post_of, post_of + synapses) {
        const auto rows = static_cast<std::size_t>(liquid());
        row_begin.assign(rows + 1, 0);
        row_inhibitory.assign(rows, 0);
        row_input.assign(rows, 0);
        column_begin.assign(static_cast<std::size_t>(neurons()) + 1, 0);
        for (std::size_t k = 0; k < pre.size(); ++k) {
            const auto i = static_cast<std::size_t>(post[k]);
            ++row_begin[i + 1];
            if (pre[k] < excitatory) ++row_inhibitory[i];
            if (pre[k] < liquid()) ++row_input[i];
            ++column_begin[static_cast<std::size_t>(pre[k]) + 1];
        }
        for (std::size_t i = 0; i < rows; ++i) {
            row_begin[i + 1] += row_begin[i];
            row_inhibitory[i] += row_begin[i];
            row_input[i] += row_begin[i];
        }
        for (std::size_t j = 1; j < column_begin.size(); ++j) column_begin[j] += column_begin[j - 1];
        column_synapse.resize(pre.size());
        column_post.resize(pre.size());
        std::vector<std::int32_t> cursor(column_begin.begin(), column_begin.end() - 1);
        for (std::size_t k = 0; k < pre.size(); ++k) {
            const auto slot = static_cast<std::size_t>(cursor[static_cast<std::size_t>(pre[k])]++);
            column_synapse[slot] = static_cast<std::int32_t>(k);
            column_post[slot] = post[k];
        }
    }
};

}  // namespace nalsm
