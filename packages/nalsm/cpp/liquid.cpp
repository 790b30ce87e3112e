// The order of one millisecond follows the original program (specification of NALSM, section 2.6):
// detect spikes, reset, [calcium], currents, membrane, refractory time, weights, traces, astrocyte, decays.
//
// Currents are kept per neuron. A synapse carries w * r_j with r_j = exp(-age_j / tau_u) / tau_u of its
// presynaptic neuron, so a new spike of j adds w * (r(0) - r_j) and a weight change dw adds dw * r_j.
// Weight changes of a millisecond take effect in the next one; they are gathered in `later_`.
#include "liquid.hpp"

#include <algorithm>
#include <cmath>

// One body, compiled for several instruction sets and chosen at load time. Contraction to fused
// multiply-adds is off (see CMakeLists.txt), so all of them give the same numbers.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(NALSM_SINGLE_TARGET)
#define NALSM_VECTOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define NALSM_VECTOR
#endif

namespace nalsm {
namespace {

constexpr int lanes = 16;

struct Segment {
    float gate, both, low, high;  // factor of the row term, extra term where both neurons fired, weight bounds
};

// One run of synapses of a neuron that fired: dw = gate * term_j (+ both where j fired as well), clipped.
// Returns sum of dw_j * r_j, added in a fixed order.
NALSM_VECTOR float update_run(float* __restrict weights, const std::int32_t* __restrict pre, std::int32_t count,
                              const float* __restrict term, const float* __restrict residue, float fresh,
                              Segment segment) {
    float sums[lanes] = {};
    std::int32_t k = 0;
    for (; k + lanes <= count; k += lanes) {
        for (int l = 0; l < lanes; ++l) {
            const std::int32_t j = pre[k + l];
            const float r = residue[j];
            const float change = segment.gate * term[j] + (r == fresh ? segment.both : 0.f);
            const float before = weights[k + l];
            const float after = std::min(std::max(before + change, segment.low), segment.high);
            weights[k + l] = after;
            sums[l] += (after - before) * r;
        }
    }
    for (; k < count; ++k) {
        const std::int32_t j = pre[k];
        const float r = residue[j];
        const float change = segment.gate * term[j] + (r == fresh ? segment.both : 0.f);
        const float before = weights[k];
        const float after = std::min(std::max(before + change, segment.low), segment.high);
        weights[k] = after;
        sums[k % lanes] += (after - before) * r;
    }
    for (int width = lanes / 2; width > 0; width /= 2)
        for (int l = 0; l < width; ++l) sums[l] += sums[l + width];
    return sums[0];
}

// Synapses that leave a neuron which fired: deliver the spike, then add the term of the postsynaptic side.
// Synapses onto neurons that fired too are left to update_run, where both terms meet before the clip.
void update_column(float* __restrict weights, const std::int32_t* __restrict synapse,
                   const std::int32_t* __restrict post, std::int32_t count, const float* __restrict term,
                   const std::uint8_t* __restrict spiked, float jump, float fresh, float low, float high,
                   float* __restrict current, float* __restrict later) {
    for (std::int32_t k = 0; k < count; ++k) {
        const std::int32_t i = post[k];
        const float before = weights[synapse[k]];
        current[i] += before * jump;
        if (!spiked[i] && term[i] != 0.f) {
            const float after = std::min(std::max(before + term[i], low), high);
            weights[synapse[k]] = after;
            later[i] += (after - before) * fresh;
        }
    }
}

NALSM_VECTOR void leak_and_add(float* __restrict potential, const float* __restrict current, std::int32_t count,
                               float leak) {
    for (std::int32_t i = 0; i < count; ++i) potential[i] = potential[i] + current[i] - potential[i] * leak;
}

NALSM_VECTOR void fade(float* __restrict potential, std::int32_t count, float leak) {
    for (std::int32_t i = 0; i < count; ++i) potential[i] = potential[i] - potential[i] * leak;
}

NALSM_VECTOR void mark_spikes(const float* __restrict potential, float* __restrict refractory,
                              std::uint8_t* __restrict spiked, std::int32_t count, float threshold, float pause) {
    for (std::int32_t i = 0; i < count; ++i) {
        const bool fires = potential[i] >= threshold && refractory[i] <= 0.f;
        spiked[i] = fires;
        refractory[i] = fires ? pause : refractory[i] - 1.f;
    }
}

NALSM_VECTOR void scale(float* __restrict values, std::int32_t count, float factor) {
    for (std::int32_t i = 0; i < count; ++i) values[i] *= factor;
}

NALSM_VECTOR void next_current(float* __restrict current, float* __restrict later, std::int32_t count,
                               float factor) {
    for (std::int32_t i = 0; i < count; ++i) {
        current[i] = (current[i] + later[i]) * factor;
        later[i] = 0.f;
    }
}

NALSM_VECTOR void multiply(float* __restrict out, const float* __restrict gate, const float* __restrict values,
                           std::int32_t count, float factor) {
    for (std::int32_t i = 0; i < count; ++i) out[i] = factor * gate[i] * values[i];
}

}  // namespace

Liquid::Liquid(const Network& network, const Settings& settings) : net_(network), set_(settings) {
    const auto all = static_cast<std::size_t>(net_.neurons());
    const auto liquid = static_cast<std::size_t>(net_.liquid());
    for (auto* v : {&potential_, &residue_, &refractory_, &row_term_}) v->assign(all, 0.f);
    for (auto* v : {&current_, &later_, &column_excitatory_, &column_inhibitory_}) v->assign(liquid, 0.f);
    gate_up_.assign(liquid, 1.f);
    gate_down_.assign(liquid, 1.f);
    spiked_.assign(all, 0);
    spikes_.reserve(all);
}

void Liquid::detect_spikes() {
    const std::int32_t all = net_.neurons();
    mark_spikes(potential_.data(), refractory_.data(), spiked_.data(), all, set_.threshold,
                static_cast<float>(set_.refractory));
    spikes_.clear();
    for (std::int32_t i = 0; i < all; ++i)
        if (spiked_[static_cast<std::size_t>(i)]) spikes_.push_back(i);
    liquid_spikes_ = static_cast<std::int32_t>(
        std::lower_bound(spikes_.begin(), spikes_.end(), net_.liquid()) - spikes_.begin());
    for (const auto i : spikes_) potential_[static_cast<std::size_t>(i)] = 0.f;
}

void Liquid::propagate(const float* weights) {  // weights in column order
    const float fresh = set_.synapse_gain;
    for (const auto j : spikes_) {
        const auto n = static_cast<std::size_t>(j);
        const float jump = fresh - residue_[n];
        for (std::int32_t k = net_.column_begin[n]; k < net_.column_begin[n + 1]; ++k)
            current_[static_cast<std::size_t>(net_.column_post[static_cast<std::size_t>(k)])] += weights[k] * jump;
        residue_[n] = fresh;
    }
}

void Liquid::propagate_and_depress(float* weights) {
    const float fresh = set_.synapse_gain, limit = set_.weight_limit;
    for (const auto j : spikes_) {
        const auto n = static_cast<std::size_t>(j);
        const bool inhibitory = j >= net_.excitatory && j < net_.liquid();
        const float low = j < net_.excitatory ? 0.f : -limit, high = inhibitory ? 0.f : limit;
        const std::int32_t begin = net_.column_begin[n];
        update_column(weights, net_.column_synapse.data() + begin, net_.column_post.data() + begin,
                      net_.column_begin[n + 1] - begin,
                      inhibitory ? column_inhibitory_.data() : column_excitatory_.data(), spiked_.data(),
                      fresh - residue_[n], fresh, low, high, current_.data(), later_.data());
        residue_[n] = fresh;
    }
}

void Liquid::update_rows(float* weights) {
    const float fresh = set_.synapse_gain, limit = set_.weight_limit;
    for (std::int32_t s = 0; s < liquid_spikes_; ++s) {
        const auto i = static_cast<std::size_t>(spikes_[static_cast<std::size_t>(s)]);
        const std::int32_t bounds[4] = {net_.row_begin[i], net_.row_inhibitory[i], net_.row_input[i],
                                        net_.row_begin[i + 1]};
        const Segment segments[3] = {{gate_up_[i], column_excitatory_[i], 0.f, limit},
                                     {gate_down_[i], column_inhibitory_[i], -limit, 0.f},
                                     {gate_up_[i], column_excitatory_[i], -limit, limit}};
        float sum = 0.f;
        for (int part = 0; part < 3; ++part)
            sum += update_run(weights + bounds[part], net_.pre.data() + bounds[part],
                              bounds[part + 1] - bounds[part], row_term_.data(), residue_.data(), fresh,
                              segments[part]);
        later_[i] += sum;
    }
}

void Liquid::integrate(const EventList& events, int t) {
    const std::int32_t liquid = net_.liquid();
    leak_and_add(potential_.data(), current_.data(), liquid, set_.leak);
    float* input = potential_.data() + liquid;
    fade(input, net_.inputs, set_.leak);
    const auto step = static_cast<std::size_t>(t);
    for (std::int64_t e = events.first[step]; e < events.first[step + 1]; ++e)
        input[events.channels[static_cast<std::size_t>(e)]] += set_.input_current;
}

// Terms of the weight rule for this millisecond, from the traces of the spikes before it:
// onto a row   excitatory, input: +L+ x_j    inhibitory: -L- x_j
// along a column  excitatory, input: -L- x_i    inhibitory: +L+ x_i   (each only where its gate is open)
void Liquid::prepare_gates(const float* trace, const float* calcium) {
    const std::int32_t liquid = net_.liquid();
    if (set_.plasticity == Plasticity::calcium)
        for (std::size_t i = 0; i < static_cast<std::size_t>(liquid); ++i) {
            const float c = calcium[i], theta = set_.calcium_threshold, range = set_.calcium_range;
            gate_up_[i] = (c > theta && c < theta + range) ? 1.f : 0.f;
            gate_down_[i] = (c < theta && c > theta - range) ? 1.f : 0.f;
        }
    multiply(column_excitatory_.data(), gate_down_.data(), trace, liquid, -depression_);
    multiply(column_inhibitory_.data(), gate_up_.data(), trace, liquid, potentiation_);
    for (std::size_t j = 0; j < static_cast<std::size_t>(net_.neurons()); ++j) row_term_[j] = potentiation_ * trace[j];
    for (auto j = static_cast<std::size_t>(net_.excitatory); j < static_cast<std::size_t>(liquid); ++j)
        row_term_[j] = -depression_ * trace[j];
}

void Liquid::present(const EventList& events, float* weights, float* trace, float* calcium, const Output& out) {
    const std::int32_t all = net_.neurons(), liquid = net_.liquid();
    std::fill(potential_.begin(), potential_.end(), 0.f);
    std::fill(refractory_.begin(), refractory_.end(), 0.f);
    std::fill(current_.begin(), current_.end(), 0.f);
    std::fill(later_.begin(), later_.end(), 0.f);
    std::fill(residue_.begin(), residue_.end(), 0.f);
    const bool plastic = set_.plasticity != Plasticity::none;
    const bool astrocytic = set_.plasticity == Plasticity::astrocyte;
    potentiation_ = set_.potentiation;
    float astrocyte = set_.astrocyte_bias, input_gain = set_.astrocyte_weight, bias = set_.astrocyte_bias;
    depression_ = astrocytic ? astrocyte : set_.depression;
    if (out.counts) std::fill(out.counts, out.counts + liquid, 0);
    for (int t = 0; t < set_.duration; ++t) {
        detect_spikes();
        if (out.counts)
            for (std::int32_t s = 0; s < liquid_spikes_; ++s) ++out.counts[spikes_[static_cast<std::size_t>(s)]];
        if (out.raster) std::copy(spiked_.begin(), spiked_.end(), out.raster + std::int64_t{t} * all);
        if (!plastic) {
            propagate(weights);
        } else {
            if (set_.plasticity == Plasticity::calcium)
                for (std::int32_t i = 0; i < all; ++i)
                    calcium[i] = calcium[i] - calcium[i] / set_.calcium_tau + static_cast<float>(spiked_[static_cast<std::size_t>(i)]);
            prepare_gates(trace, calcium);
            propagate_and_depress(weights);
        }
        integrate(events, t);
        if (plastic) {
            update_rows(weights);
            for (const auto i : spikes_) trace[i] += set_.trace_increment;
            scale(trace, all, set_.trace_decay);
            if (astrocytic) {
                const auto difference = static_cast<float>(2 * liquid_spikes_ - static_cast<std::int32_t>(spikes_.size()));
                astrocyte += (input_gain * difference + bias - astrocyte) / set_.astrocyte_tau;
                astrocyte *= set_.rate_decay;
                input_gain *= set_.rate_decay;
                bias *= set_.rate_decay;
            } else {
                depression_ *= set_.rate_decay;
            }
            potentiation_ *= set_.rate_decay;
            if (astrocytic) depression_ = astrocyte;
        }
        if (out.astrocyte) out.astrocyte[t] = depression_;
        next_current(current_.data(), later_.data(), liquid, set_.synapse_decay);
        scale(residue_.data(), all, set_.synapse_decay);
    }
}

}  // namespace nalsm
