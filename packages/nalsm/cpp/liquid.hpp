// One presentation of an event stream to a liquid of leaky integrate-and-fire neurons, event driven.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "events.hpp"
#include "loops.hpp"
#include "network.hpp"
#include "watch.hpp"

namespace nalsm {

enum class Plasticity : int { none = 0, stdp = 1, astrocyte = 2, calcium = 3 };

struct Settings {
  int duration = 250;                 // ms
  float threshold = 20.f;             // membrane potential at which a neuron fires
  float leak = 1.f / 64.f;            // 1 / tau_v, per ms
  float synapse_decay = 0.36787944f;  // exp(-1 ms / tau_u)
  float synapse_gain = 1.f;           // 1 / tau_u
  float input_current = 100.f;
  int refractory = 2;  // ms
  Plasticity plasticity = Plasticity::none;
  float potentiation = 0.15f, depression = 0.15f;
  float trace_increment = 0.1f, trace_decay = 0.9047744744744745f;
  float weight_limit = 3.f;
  float rate_decay = 1.f;  // factor on every learning rate after each ms
  float astrocyte_weight = 0.015f, astrocyte_bias = 0.15f, astrocyte_tau = 100.f;
  float calcium_tau = 1000.f, calcium_threshold = 37.f, calcium_range = 23.f;
};

// The input neurons of a presentation: all of the network's, or those that its events use.
struct Inputs {
  const Block* block = nullptr;          // their synapses
  std::int32_t used = 0;                 // how many there are
  const std::int32_t* column = nullptr;  // (used): the column of each in the block or table; null: the same number

  Inputs() = default;
  Inputs(const Block& all) : block(&all), used(all.columns()) {}  // NOLINT: a block is what most callers have
  Inputs(const Block& all, std::span<const std::int32_t> columns)
      : block(&all), used(static_cast<std::int32_t>(columns.size())), column(columns.data()) {}
};

constexpr std::size_t line_floats = 16;  // of a cache line

// So many floats, filled up to whole cache lines: no vector of a row of them then lies in two lines.
constexpr std::size_t whole_lines(std::size_t floats) { return (floats + line_floats - 1) / line_floats * line_floats; }

// Weights of the two blocks of a network. Plastic liquids keep them in row order and change them in place;
// fixed ones in column order, with zeros for absent input synapses where `dense` is set: (input, whole_lines(liquid)).
struct Weights {
  float* recurrent = nullptr;
  float* input = nullptr;
  bool dense = false;
};

// What a presentation leaves behind; null pointers are not filled.
struct Output {
  std::int32_t* counts = nullptr;         // (liquid): spikes of each liquid neuron
  std::uint8_t* raster = nullptr;         // (duration, neurons), zero at the start
  float* astrocyte = nullptr;             // (duration): state after each ms
  const std::int32_t* channel = nullptr;  // (used input): its number in the network; null: all are used
};

// What a liquid carries from one millisecond to the next, besides weights, traces and calcium.
struct Memory {
  std::vector<float> potential, refractory, residue;  // (liquid, then used input neurons)
  std::vector<float> current;                         // (liquid)
  float potentiation = 0.f, depression = 0.f, astrocyte_weight = 0.f, astrocyte_bias = 0.f;
};

// State and scratch memory of one worker; reused from presentation to presentation.
class Liquid {
 public:
  Liquid(const Network& network, const Settings& settings, const Loops& loops);

  // Trace and calcium (liquid, then used input neurons) are read and, where plastic, changed in place; a plastic liquid
  // takes inputs without `column`. Ends early where `watch` says so; what is left behind then is of no use.
  void present(const Inputs& input, const EventList& events, Weights weights, float* trace, float* calcium,
               const Output& out, Watch* watch = nullptr);

  // The same in two parts: `clear` begins a presentation, `advance` simulates its next `duration` ms; true: all of
  // them.
  void clear(const Inputs& input);
  bool advance(const EventList& events, int duration, Weights weights, float* trace, float* calcium, const Output& out,
               Watch* watch);

  Memory memory() const;
  void remember(const Memory& memory);  // of a liquid of as many neurons

 private:
  void detect_spikes();
  void propagate(Weights weights);
  void propagate_and_depress(Weights weights);
  void update_rows(Weights weights);
  void integrate(const EventList& events, int t);
  void collect_calcium(float* calcium);
  void prepare_gates(const float* trace, const float* calcium);
  void learn(Weights weights, float* trace);
  void note(const Output& out, int t) const;

  std::size_t column_of(std::size_t input) const {
    return input_.column ? static_cast<std::size_t>(input_.column[input]) : input;
  }
  const Block& block_of(std::size_t neuron) const { return neuron < rows_ ? net_.recurrent : *input_.block; }

  const Network& net_;
  Settings set_;
  const Loops& loops_;
  Inputs input_;
  std::size_t rows_;                   // liquid neurons
  std::int32_t liquid_, neurons_ = 0;  // neurons_: liquid and used input neurons
  std::vector<float> potential_, later_, residue_, refractory_;
  std::vector<float> current_;  // (liquid), and zeros up to a whole cache line
  std::vector<float> row_term_, column_excitatory_, column_inhibitory_, gate_up_, gate_down_;
  std::vector<float> both_excitatory_, both_inhibitory_;  // (liquid spike): column terms of neurons that fired
  std::vector<std::int32_t> found_;
  std::span<const std::int32_t> spikes_;  // of this millisecond: liquid neurons, then inputs; part of found_
  std::vector<std::int32_t> dense_row_;   // (input spike): its row of the dense table, and what each weight is
  std::vector<float> dense_jump_;         // multiplied with
  std::int32_t liquid_spikes_ = 0;
  float potentiation_ = 0.f, depression_ = 0.f;
  float astrocyte_weight_ = 0.f, astrocyte_bias_ = 0.f;
};

}  // namespace nalsm
