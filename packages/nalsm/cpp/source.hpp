// Input events of presentations as Python gives them.
#pragma once
#include <pybind11/numpy.h>

#include <cstdint>
#include <optional>

#include "events.hpp"
#include "network.hpp"

namespace nalsm {

template <class T>
using Array = pybind11::array_t<T, pybind11::array::c_style>;

// Where the events of a presentation come from: firing probabilities (drawn here) or ready lists.
struct Source {
    std::optional<Array<double>> probability;  // (presentation, input)
    std::optional<Array<std::int64_t>> first;  // (presentation, duration + 1), offsets into channels
    std::optional<Array<std::int32_t>> channels;
    Array<std::int64_t> sample;  // (presentation): index that keys the random numbers
    std::uint64_t seed = 0;

    void fill(std::int64_t k, const Network& net, int duration, EventList& events) const {
        if (probability) {
            events.draw(probability->data() + k * net.inputs, net.inputs, duration, seed,
                        static_cast<std::uint64_t>(sample.data()[k]));
            return;
        }
        const std::int64_t* begin = first->data() + k * (duration + 1);
        events.first.resize(static_cast<std::size_t>(duration) + 1);
        for (int t = 0; t <= duration; ++t) events.first[static_cast<std::size_t>(t)] = begin[t] - begin[0];
        events.channels.assign(channels->data() + begin[0], channels->data() + begin[duration]);
    }
};

}  // namespace nalsm
