// Presents random events to random liquids, and checks that every instruction set gives the same bits, that a sample on
// its used channels gives the same spikes and weights as one on all of them, that a presentation in parts and samples
// shared by threads give the same bits, and that indices which lead outside are refused.
#include <cstdio>
#include <cstdlib>
#include <random>

#include "../checks.hpp"
#include "../common/threads.hpp"
#include "../dispatch.hpp"
#include "../layout.hpp"
#include "../liquid.hpp"
#include "../restriction.hpp"
#include "../worker.hpp"

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

Result present(const Network& net, const Settings& settings, const Loops& loops, EventList events, bool restricted) {
  const auto liquid = static_cast<std::size_t>(net.liquid()), fixed = net.recurrent_synapses();
  const auto steps = static_cast<std::size_t>(settings.duration);
  Result r{std::vector<std::int32_t>(liquid),
           std::vector<std::uint8_t>(steps * static_cast<std::size_t>(net.neurons())),
           {},
           std::vector<float>(steps)};
  Restriction used;
  std::vector<float> trace(static_cast<std::size_t>(net.neurons())), calcium(trace.size());
  r.weights.assign(net.synapses(), 2.f);
  Output out{r.counts.data(), r.raster.data(), r.astrocyte.data(), nullptr};
  Liquid worker(net, settings, loops);
  if (!restricted) {
    worker.present(net.input, events, {r.weights.data(), r.weights.data() + fixed, false}, trace.data(), calcium.data(),
                   out);
    return r;
  }
  used.choose(net, events, trace.data() + liquid);
  std::vector<float> part(used.place.size(), 2.f);
  out.channel = used.channel.data();
  worker.present(used.input, events, {r.weights.data(), part.data(), false}, trace.data(), calcium.data(), out);
  for (std::size_t s = 0; s < part.size(); ++s) r.weights[fixed + static_cast<std::size_t>(used.place[s])] = part[s];
  return r;
}

// The same events shown in one part and in three.
bool parts_agree(const Network& net, const Settings& settings, const Loops& loops, const EventList& events) {
  const auto neurons = static_cast<std::size_t>(net.neurons());
  std::vector<float> whole(net.synapses(), 2.f), own = whole, trace(neurons), other(neurons), calcium(neurons),
                                                 more(neurons);
  Liquid first(net, settings, loops), second(net, settings, loops);
  first.present(net.input, events, parts(net, whole), trace.data(), calcium.data(), {});
  second.clear(net.input);
  for (int begin = 0, end = 0; begin < settings.duration; begin = end) {
    end = std::min(begin + settings.duration / 3 + 1, settings.duration);
    EventList part;
    for (int t = begin; t <= end; ++t)
      part.first.push_back(events.first[static_cast<std::size_t>(t)] - events.first[static_cast<std::size_t>(begin)]);
    part.channels.assign(events.channels.begin() + events.first[static_cast<std::size_t>(begin)],
                         events.channels.begin() + events.first[static_cast<std::size_t>(end)]);
    Liquid third(net, settings, loops);
    third.clear(net.input);
    third.remember(second.memory());
    third.advance(part, end - begin, parts(net, own), other.data(), more.data(), {}, nullptr);
    second.remember(third.memory());
  }
  const Memory a = first.memory(), b = second.memory();
  return whole == own && trace == other && calcium == more && a.potential == b.potential && a.current == b.current &&
         a.residue == b.residue && a.refractory == b.refractory && a.depression == b.depression;
}

// Samples shared by threads, of which one ends early once the watch says so.
std::vector<std::int32_t> shared_counts(const Network& net, const Settings& settings, const Loops& loops, int threads,
                                        int until) {
  constexpr std::int64_t samples = 24;
  const auto liquid = static_cast<std::size_t>(net.liquid());
  std::vector<std::int32_t> counts(samples * liquid);
  std::vector<float> start(net.synapses(), 2.f), trace(samples * static_cast<std::size_t>(net.neurons()));
  const std::vector<double> probability(static_cast<std::size_t>(net.inputs), 0.2);
  Watch watch([] {});
  const auto make_worker = [&] {
    return [&, worker = Worker(net, settings, loops)](std::int64_t k) mutable {
      if (k == until) throw std::runtime_error("stop");
      worker.events.draw(probability.data(), net.inputs, settings.duration, 5, static_cast<std::uint64_t>(k));
      const auto place = static_cast<std::size_t>(k);
      worker.present_plastic(start, trace.data() + place * static_cast<std::size_t>(net.neurons()),
                             {counts.data() + place * liquid, nullptr, nullptr, nullptr}, nullptr, watch);
    };
  };
  try {
    core::share(threads, samples, make_worker, [] {});
  } catch (const std::runtime_error&) {
    counts.clear();
  }
  return counts;
}

template <class Work>
bool refuses(const Work& work) {
  try {
    work();
  } catch (const std::invalid_argument&) {
    return true;
  }
  return false;
}

// Two liquid neurons and an input; each list is wrong in one place.
bool wrong_indices_are_refused() {
  const auto wiring = [](Indices post, Indices pre, std::int64_t excitatory = 1, std::int64_t inputs = 1) {
    return refuses(
        [&] { check_wiring(excitatory, 1, inputs, post.data(), pre.data(), static_cast<std::int64_t>(post.size())); });
  };
  const auto events = [](std::vector<std::int64_t> first, Indices channels) {
    return refuses([&] {
      check_events(first.data(), 1, static_cast<std::int64_t>(first.size()) - 1, channels.data(),
                   static_cast<std::int64_t>(channels.size()), 3);
    });
  };
  return !wiring({0, 0, 1}, {1, 2, 0}) && wiring({0, 2}, {1, 0}) && wiring({-1, 0}, {1, 1}) && wiring({0, 0}, {1, 3}) &&
         wiring({0, 0}, {-1, 1}) && wiring({1, 0}, {0, 1}) && wiring({0, 0}, {1, 1}) && wiring({}, {}, -1) &&
         wiring({}, {}, 1, std::int64_t{1} << 40) && !events({0, 1, 2}, {0, 2}) && events({0, 1, 3}, {0, 2}) &&
         events({-1, 1, 2}, {0, 2}) && events({0, 2, 1}, {0, 2}) && events({0, 1, 2}, {0, 3}) &&
         events({0, 1, 2}, {-1, 0});
}

// The loops of one instruction set against the portable ones: the same bits, and nothing touched beyond the run.
bool loops_agree(std::mt19937& stream, const Loops& loops) {
  std::uniform_real_distribution<float> number(-1.f, 1.f);
  for (std::int32_t count = 0; count < 150; ++count) {
    constexpr std::size_t all = 160, rows = 9;
    std::vector<float> term(all), residue(all), table(rows * all), jump(rows), first(all), second;
    for (auto* v : {&term, &table, &jump, &first})
      for (auto& x : *v) x = number(stream);
    for (auto& r : residue) r = stream() % 3 ? std::abs(number(stream)) : 1.f;
    Indices pre, synapse, row;
    for (std::int32_t k = 0; k < count; ++k) pre.push_back(static_cast<std::int32_t>(stream() % all));
    for (std::int32_t k = 0; k < count; ++k) synapse.push_back((k * 7 + 3) % count);
    for (std::size_t k = 0; k < rows; ++k) row.push_back(static_cast<std::int32_t>(stream() % rows));
    const Segment segment{number(stream), number(stream), -0.5f, 0.75f};
    const auto run = [&](const Loops& of) {
      std::vector<float> weights = first, current = term, later = residue, potential = first, refractory = term;
      Indices spikes(all + listed);
      Indices each;
      for (std::int32_t k = 0; k < count; ++k) each.push_back(k);
      const float sum = of.update_run(weights.data(), pre.data(), count, term.data(), residue.data(), 1.f, segment);
      of.add_rows(current.data(), table.data(), count, row.data(), jump.data(), rows);
      of.deliver(current.data(), table.data(), each.data(), count, jump[0]);
      of.update_column(weights.data(), synapse.data(), each.data(), count, term.data(), jump[0], 1.f, -0.5f, 0.75f,
                       current.data(), later.data());
      of.leak_and_add(potential.data(), current.data(), count, 0.25f);
      of.fade(potential.data(), count, 0.125f);
      spikes.resize(static_cast<std::size_t>(
          of.find_spikes(potential.data(), refractory.data(), count, 0.1f, 2.f, 7, spikes.data())));
      of.lose_calcium(weights.data(), count, 3.f);
      of.multiply(potential.data(), term.data(), current.data(), count, jump[1]);
      of.scale(weights.data(), count, jump[2]);
      of.next_current(current.data(), later.data(), count, jump[3]);
      for (const auto* more : {&current, &later, &potential, &refractory})
        weights.insert(weights.end(), more->begin(), more->end());
      weights.insert(weights.end(), spikes.begin(), spikes.end());
      weights.push_back(sum);
      return weights;
    };
    if (run(loops) != run(portable::loops)) return false;
  }
  return true;
}

// A fixed liquid with its input as a dense table, and as lists; on all channels, and on the used ones.
std::vector<std::int32_t> fixed_counts(const Network& net, Settings settings, const Loops& loops,
                                       const EventList& events, bool table, bool restricted) {
  settings.plasticity = Plasticity::none;
  std::vector<std::int32_t> counts(static_cast<std::size_t>(net.liquid()));
  const std::vector<float> start(net.synapses(), 2.f);
  Columns columns(net, start, table);
  const Output out{counts.data(), nullptr, nullptr, nullptr};
  if (restricted) {
    Watch watch([] {});
    Worker worker(net, settings, loops);
    worker.events = events;
    worker.present_fixed(columns.weights(), out, watch);
  } else {
    Liquid(net, settings, loops).present(net.input, events, columns.weights(), nullptr, nullptr, out);
  }
  return counts;
}

// One random liquid; an empty text: no error. `found` gets what every instruction set must give alike.
std::string check(std::mt19937 stream, int round, const Loops& loops, std::vector<float>& found) {
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
  const Result whole = present(net, settings, loops, events, false), part = present(net, settings, loops, events, true);
  bool same = whole.counts == part.counts && whole.raster == part.raster;
  for (std::size_t s = 0; s < whole.weights.size(); ++s)
    same = same && std::abs(whole.weights[s] - part.weights[s]) < 1e-5f;
  if (!same) return "the used channels give another result";
  if (!parts_agree(net, settings, loops, events)) return "parts give another result";
  const auto fixed = fixed_counts(net, settings, loops, events, true, false);
  if (fixed != fixed_counts(net, settings, loops, events, false, false)) return "the dense table gives another result";
  for (const bool table : {false, true})
    if (fixed != fixed_counts(net, settings, loops, events, table, true))
      return "a fixed liquid on the used channels gives another result";
  for (const auto* counts : {&whole.counts, &fixed}) found.insert(found.end(), counts->begin(), counts->end());
  for (const auto* values : {&whole.weights, &whole.astrocyte, &part.weights})
    found.insert(found.end(), values->begin(), values->end());
  if (round % 10 || settings.plasticity == Plasticity::calcium) return "";
  const auto alone = shared_counts(net, settings, loops, 1, -1);
  if (alone != shared_counts(net, settings, loops, 4, -1) || !shared_counts(net, settings, loops, 4, 7).empty())
    return "threads give another result";
  return "";
}

}  // namespace

int main() {
  if (!wrong_indices_are_refused()) return std::printf("a wrong index is taken\n"), 1;
  std::mt19937 stream(7);
  for (const std::string& isa : core::all_isa())
    if (!loops_agree(stream, loops_of(isa))) return std::printf("%s: other bits than portable\n", isa.c_str()), 1;
  double sum = 0;
  for (int round = 0; round < 60; ++round, stream.discard(1000)) {
    std::vector<float> first, found;
    for (const std::string& isa : core::all_isa()) {
      const std::string wrong = check(stream, round, loops_of(isa), found);
      if (!wrong.empty()) return std::printf("round %d, %s: %s\n", round, isa.c_str(), wrong.c_str()), 1;
      if (first.empty()) first = found;
      if (first != found) return std::printf("round %d, %s: other bits than the best\n", round, isa.c_str()), 1;
      found.clear();
    }
    for (const float x : first) sum += static_cast<double>(x);
  }
  if (!(sum > 0)) return std::printf("no neuron fired\n"), 1;
  std::printf("60 liquids: no error\n");
}
