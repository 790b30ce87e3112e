// Presents random events to random liquids under the address and undefined-behaviour sanitizers, and checks that a
// sample on its used channels gives the same spikes and weights as one on all of them. Built by sanitize.sh.
#include <cstdio>
#include <cstdlib>
#include <random>

#include "../liquid.hpp"
#include "../restriction.hpp"
#include "../update_run.hpp"

using namespace nalsm;

namespace {

Network random_network(std::mt19937& stream, std::int32_t excitatory, std::int32_t inhibitory, std::int32_t inputs) {
    std::bernoulli_distribution connected(0.2);
    Indices post, pre;
    for (std::int32_t i = 0; i < excitatory + inhibitory; ++i)
        for (std::int32_t j = 0; j < excitatory + inhibitory + inputs; ++j)
            if (i != j && connected(stream)) {
                post.push_back(i);
                pre.push_back(j);
            }
    return {excitatory, inhibitory, inputs, post.data(), pre.data(), static_cast<std::int64_t>(post.size())};
}

struct Result {
    std::vector<std::int32_t> counts;
    std::vector<std::uint8_t> raster;
    std::vector<float> weights, astrocyte;
};

Result present(const Network& net, const Settings& settings, EventList events, bool restricted) {
    const auto liquid = static_cast<std::size_t>(net.liquid()), fixed = net.recurrent_synapses();
    const auto steps = static_cast<std::size_t>(settings.duration);
    Result r{std::vector<std::int32_t>(liquid),
             std::vector<std::uint8_t>(steps * static_cast<std::size_t>(net.neurons())), {}, std::vector<float>(steps)};
    Restriction used;
    std::vector<float> trace(static_cast<std::size_t>(net.neurons())), calcium(trace.size());
    r.weights.assign(net.synapses(), 2.f);
    Output out{r.counts.data(), r.raster.data(), r.astrocyte.data(), nullptr};
    Liquid worker(net, settings);
    if (!restricted) {
        worker.present(net.input, events, {r.weights.data(), r.weights.data() + fixed, false}, trace.data(),
                       calcium.data(), out);
        return r;
    }
    used.choose(net, events, trace.data() + liquid);
    std::vector<float> part(used.place.size(), 2.f);
    out.channel = used.channel.data();
    worker.present(used.input, events, {r.weights.data(), part.data(), false}, trace.data(), calcium.data(), out);
    for (std::size_t s = 0; s < part.size(); ++s) r.weights[fixed + static_cast<std::size_t>(used.place[s])] = part[s];
    return r;
}

// The form chosen for this processor against the portable one: the same bits, and nothing touched beyond the run.
bool runs_agree(std::mt19937& stream) {
    std::uniform_real_distribution<float> number(-1.f, 1.f);
    for (std::int32_t count = 0; count < 70; ++count) {
        const auto size = static_cast<std::size_t>(count);
        std::vector<float> term(90), residue(90), first(size), second;
        for (auto* v : {&term, &first})
            for (auto& x : *v) x = number(stream);
        for (auto& r : residue) r = stream() % 3 ? std::abs(number(stream)) : 1.f;
        Indices pre;
        for (std::size_t k = 0; k < size; ++k) pre.push_back(static_cast<std::int32_t>(stream() % 90));
        second = first;
        const Segment segment{number(stream), number(stream), -0.5f, 0.75f};
        const float a = update_run(first.data(), pre.data(), count, term.data(), residue.data(), 1.f, segment);
        const float b = update_run_portable(second.data(), pre.data(), count, term.data(), residue.data(), 1.f, segment);
        if (a != b || first != second) return false;
    }
    return true;
}

}  // namespace

int main() {
    std::mt19937 stream(7);
    if (!runs_agree(stream)) return std::printf("the forms of update_run differ\n"), 1;
    long spikes = 0;
    for (int round = 0; round < 60; ++round) {
        const auto size = [&](int low, int high) { return std::uniform_int_distribution<>(low, high)(stream); };
        const Network net = random_network(stream, size(1, 60), size(0, 20), size(1, 70));
        Settings settings;
        settings.duration = size(1, 60);
        settings.plasticity = static_cast<Plasticity>(size(1, 3));
        settings.calcium_threshold = 3.f;
        settings.calcium_range = 2.5f;
        std::vector<double> probability(static_cast<std::size_t>(net.inputs));
        for (auto& p : probability) p = size(0, 2) ? size(0, 10) / 10.0 : 0.0;
        EventList events;
        events.draw(probability.data(), net.inputs, settings.duration, 5, static_cast<std::uint64_t>(round));
        const Result whole = present(net, settings, events, false), part = present(net, settings, events, true);
        bool same = whole.counts == part.counts && whole.raster == part.raster;
        for (std::size_t s = 0; s < whole.weights.size(); ++s)
            same = same && std::abs(whole.weights[s] - part.weights[s]) < 1e-5f;
        if (!same) return std::printf("round %d: the used channels give another result\n", round), 1;
        for (const auto c : whole.counts) spikes += c;
    }
    if (!spikes) return std::printf("no neuron fired\n"), 1;
    std::printf("60 liquids, %ld spikes: no error\n", spikes);
}
