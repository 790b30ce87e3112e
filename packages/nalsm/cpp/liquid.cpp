// The order of one millisecond follows the original program:
// detect spikes, reset, [calcium], currents, membrane, refractory time, weights, traces, astrocyte, decays.
//
// Currents are kept per neuron. A synapse carries w * r_j with r_j = exp(-age_j / tau_u) / tau_u of its
// presynaptic neuron, so a new spike of j adds w * (r(0) - r_j) and a weight change dw adds dw * r_j.
// Weight changes of a millisecond take effect in the next one; they are gathered in `later_`.
#include "liquid.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/denormals.hpp"

namespace nalsm {

Liquid::Liquid(const Network& network, const Settings& settings, const Loops& loops)
    : net_(network),
      set_(settings),
      loops_(loops),
      rows_(static_cast<std::size_t>(network.liquid())),
      liquid_(network.liquid()) {
  const auto all = static_cast<std::size_t>(net_.neurons());
  for (auto* v : {&potential_, &residue_, &refractory_, &row_term_}) v->resize(all);
  current_.resize(whole_lines(rows_));
  for (auto* v : {&later_, &column_excitatory_, &column_inhibitory_}) v->resize(rows_);
  gate_up_.assign(rows_, 1.f);
  gate_down_.assign(rows_, 1.f);
  found_.resize(all + listed);
}

void Liquid::clear(const Inputs& input) {
  input_ = input;
  neurons_ = liquid_ + input.used;
  for (auto* v : {&potential_, &residue_, &refractory_, &current_, &later_}) std::fill(v->begin(), v->end(), 0.f);
  spikes_ = {};
  potentiation_ = set_.potentiation;
  astrocyte_weight_ = set_.astrocyte_weight;
  astrocyte_bias_ = set_.astrocyte_bias;
  depression_ = set_.plasticity == Plasticity::astrocyte ? set_.astrocyte_bias : set_.depression;
}

void Liquid::detect_spikes() {
  const auto pause = static_cast<float>(set_.refractory);
  liquid_spikes_ =
      loops_.find_spikes(potential_.data(), refractory_.data(), liquid_, set_.threshold, pause, 0, found_.data());
  const std::int32_t more =
      loops_.find_spikes(potential_.data() + liquid_, refractory_.data() + liquid_, neurons_ - liquid_, set_.threshold,
                         pause, liquid_, found_.data() + liquid_spikes_);
  spikes_ = {found_.data(), static_cast<std::size_t>(liquid_spikes_ + more)};
}

void Liquid::propagate(Weights weights) {
  const float fresh = set_.synapse_gain;
  dense_row_.clear();
  dense_jump_.clear();
  for (const auto j : spikes_) {
    const auto n = static_cast<std::size_t>(j);
    const float jump = fresh - residue_[n];
    residue_[n] = fresh;
    const std::size_t column = n < rows_ ? n : column_of(n - rows_);
    if (n >= rows_ && weights.dense) {
      dense_row_.push_back(static_cast<std::int32_t>(column));
      dense_jump_.push_back(jump);
      continue;
    }
    const Block& block = block_of(n);
    const std::int32_t begin = block.column_begin[column];
    loops_.deliver(current_.data(), (n < rows_ ? weights.recurrent : weights.input) + begin,
                   block.column_post.data() + begin, block.column_begin[column + 1] - begin, jump);
  }
  if (!dense_row_.empty())
    loops_.add_rows(current_.data(), weights.input, static_cast<std::int32_t>(current_.size()), dense_row_.data(),
                    dense_jump_.data(), dense_row_.size());
}

void Liquid::propagate_and_depress(Weights weights) {
  const float fresh = set_.synapse_gain, limit = set_.weight_limit;
  for (const auto j : spikes_) {
    const auto n = static_cast<std::size_t>(j);
    const Block& block = block_of(n);
    const std::size_t column = n < rows_ ? n : n - rows_;
    const bool inhibitory = j >= net_.excitatory && n < rows_;
    const float low = j < net_.excitatory ? 0.f : -limit, high = inhibitory ? 0.f : limit;
    const std::int32_t begin = block.column_begin[column];
    loops_.update_column(n < rows_ ? weights.recurrent : weights.input, block.column_synapse.data() + begin,
                         block.column_post.data() + begin, block.column_begin[column + 1] - begin,
                         inhibitory ? column_inhibitory_.data() : column_excitatory_.data(), fresh - residue_[n], fresh,
                         low, high, current_.data(), later_.data());
    residue_[n] = fresh;
  }
}

void Liquid::update_rows(Weights weights) {
  const float fresh = set_.synapse_gain, limit = set_.weight_limit;
  const float *term = row_term_.data(), *residue = residue_.data();
  for (std::int32_t s = 0; s < liquid_spikes_; ++s) {
    const auto i = static_cast<std::size_t>(spikes_[static_cast<std::size_t>(s)]);
    const float excitatory = both_excitatory_[static_cast<std::size_t>(s)];
    const float inhibitory = both_inhibitory_[static_cast<std::size_t>(s)];
    const std::int32_t first = net_.recurrent.row_begin[i], middle = net_.row_inhibitory[i],
                       last = net_.recurrent.row_begin[i + 1], input = input_.block->row_begin[i];
    const std::int32_t* pre = net_.recurrent.pre.data();
    later_[i] += loops_.update_run(weights.recurrent + first, pre + first, middle - first, term, residue, fresh,
                                   {gate_up_[i], excitatory, 0.f, limit});
    later_[i] += loops_.update_run(weights.recurrent + middle, pre + middle, last - middle, term, residue, fresh,
                                   {gate_down_[i], inhibitory, -limit, 0.f});
    later_[i] += loops_.update_run(weights.input + input, input_.block->pre.data() + input,
                                   input_.block->row_begin[i + 1] - input, term + liquid_, residue + liquid_, fresh,
                                   {gate_up_[i], excitatory, -limit, limit});
  }
}

void Liquid::integrate(const EventList& events, int t) {
  loops_.leak_and_add(potential_.data(), current_.data(), liquid_, set_.leak);
  float* input = potential_.data() + liquid_;
  loops_.fade(input, neurons_ - liquid_, set_.leak);
  const auto step = static_cast<std::size_t>(t);
  for (std::int64_t e = events.first[step]; e < events.first[step + 1]; ++e)
    input[events.channels[static_cast<std::size_t>(e)]] += set_.input_current;
}

void Liquid::collect_calcium(float* calcium) {
  loops_.lose_calcium(calcium, neurons_, set_.calcium_tau);
  for (const auto i : spikes_) calcium[i] += 1.f;
}

// Terms of the weight rule for this millisecond, from the traces of the spikes before it:
// onto a row   excitatory, input: +L+ x_j    inhibitory: -L- x_j
// along a column  excitatory, input: -L- x_i    inhibitory: +L+ x_i   (each only where its gate is open)
void Liquid::prepare_gates(const float* trace, const float* calcium) {
  if (set_.plasticity == Plasticity::calcium)
    for (std::size_t i = 0; i < rows_; ++i) {
      const float c = calcium[i], theta = set_.calcium_threshold, range = set_.calcium_range;
      gate_up_[i] = (c > theta && c < theta + range) ? 1.f : 0.f;
      gate_down_[i] = (c < theta && c > theta - range) ? 1.f : 0.f;
    }
  loops_.multiply(column_excitatory_.data(), gate_down_.data(), trace, liquid_, -depression_);
  loops_.multiply(column_inhibitory_.data(), gate_up_.data(), trace, liquid_, potentiation_);
  std::copy(trace, trace + neurons_, row_term_.begin());
  loops_.scale(row_term_.data(), neurons_, potentiation_);
  for (auto j = static_cast<std::size_t>(net_.excitatory); j < rows_; ++j) row_term_[j] = -depression_ * trace[j];
  both_excitatory_.clear();
  both_inhibitory_.clear();
  for (std::int32_t s = 0; s < liquid_spikes_; ++s) {
    const auto i = static_cast<std::size_t>(spikes_[static_cast<std::size_t>(s)]);
    both_excitatory_.push_back(std::exchange(column_excitatory_[i], 0.f));
    both_inhibitory_.push_back(std::exchange(column_inhibitory_[i], 0.f));
  }
}

// After the membranes: weights onto neurons that fired, traces, astrocyte, decay of the rates.
void Liquid::learn(Weights weights, float* trace) {
  update_rows(weights);
  for (const auto i : spikes_) trace[i] += set_.trace_increment;
  loops_.scale(trace, neurons_, set_.trace_decay);
  if (set_.plasticity == Plasticity::astrocyte) {
    const auto difference = static_cast<float>(2 * liquid_spikes_ - static_cast<std::int32_t>(spikes_.size()));
    depression_ += (astrocyte_weight_ * difference + astrocyte_bias_ - depression_) / set_.astrocyte_tau;
    astrocyte_weight_ *= set_.rate_decay;
    astrocyte_bias_ *= set_.rate_decay;
  }
  depression_ *= set_.rate_decay;
  potentiation_ *= set_.rate_decay;
}

void Liquid::note(const Output& out, int t) const {
  if (out.counts)
    for (std::int32_t s = 0; s < liquid_spikes_; ++s) ++out.counts[spikes_[static_cast<std::size_t>(s)]];
  if (!out.raster) return;
  std::uint8_t* row = out.raster + std::int64_t{t} * net_.neurons();
  for (const auto j : spikes_) row[j < liquid_ || !out.channel ? j : liquid_ + out.channel[j - liquid_]] = 1;
}

void Liquid::present(const Inputs& input, const EventList& events, Weights weights, float* trace, float* calcium,
                     const Output& out, Watch* watch) {
  clear(input);
  advance(events, set_.duration, weights, trace, calcium, out, watch);
}

bool Liquid::advance(const EventList& events, int duration, Weights weights, float* trace, float* calcium,
                     const Output& out, Watch* watch) {
  const core::DenormalsAreZero fast;
  if (out.counts) std::fill(out.counts, out.counts + liquid_, 0);
  for (int t = 0; t < duration; ++t) {
    if (watch && t % Watch::stride == 0 && !watch->glance()) return false;
    detect_spikes();
    note(out, t);
    if (set_.plasticity == Plasticity::none) {
      propagate(weights);
      integrate(events, t);
    } else {
      if (set_.plasticity == Plasticity::calcium) collect_calcium(calcium);
      prepare_gates(trace, calcium);
      propagate_and_depress(weights);
      integrate(events, t);
      learn(weights, trace);
    }
    if (out.astrocyte) out.astrocyte[t] = depression_;
    if (set_.plasticity == Plasticity::none)
      loops_.scale(current_.data(), liquid_, set_.synapse_decay);  // nothing comes later
    else
      loops_.next_current(current_.data(), later_.data(), liquid_, set_.synapse_decay);
    loops_.scale(residue_.data(), neurons_, set_.synapse_decay);
  }
  return true;
}

Memory Liquid::memory() const {
  const std::vector<float> current(current_.begin(), current_.begin() + liquid_);
  return {potential_, refractory_, residue_, current, potentiation_, depression_, astrocyte_weight_, astrocyte_bias_};
}

void Liquid::remember(const Memory& memory) {
  potential_ = memory.potential;
  refractory_ = memory.refractory;
  residue_ = memory.residue;
  std::copy(memory.current.begin(), memory.current.end(), current_.begin());
  potentiation_ = memory.potentiation;
  depression_ = memory.depression;
  astrocyte_weight_ = memory.astrocyte_weight;
  astrocyte_bias_ = memory.astrocyte_bias;
}

}  // namespace nalsm
