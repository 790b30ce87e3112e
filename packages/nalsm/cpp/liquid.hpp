// One presentation of an event stream to a liquid of leaky integrate-and-fire neurons, event driven.
#pragma once
#include <cstdint>
#include <vector>

#include "events.hpp"
#include "network.hpp"

namespace nalsm {

enum class Plasticity : int { none = 0, stdp = 1, astrocyte = 2, calcium = 3 };

struct Settings {
    int duration = 250;               // ms
    float threshold = 20.f;           // membrane potential at which a neuron fires
    float leak = 1.f / 64.f;          // 1 / tau_v, per ms
    float synapse_decay = 0.36787944f;  // exp(-1 ms / tau_u)
    float synapse_gain = 1.f;         // 1 / tau_u
    float input_current = 100.f;
    int refractory = 2;               // ms
    Plasticity plasticity = Plasticity::none;
    float potentiation = 0.15f, depression = 0.15f;
    float trace_increment = 0.1f, trace_decay = 0.9047744744744745f;
    float weight_limit = 3.f;
    float rate_decay = 1.f;           // factor on every learning rate after each ms
    float astrocyte_weight = 0.015f, astrocyte_bias = 0.15f, astrocyte_tau = 100.f;
    float calcium_tau = 1000.f, calcium_threshold = 37.f, calcium_range = 23.f;
};

// What a presentation leaves behind; null pointers are not filled.
struct Output {
    std::int32_t* counts = nullptr;   // (liquid): spikes of each liquid neuron
    std::uint8_t* raster = nullptr;   // (duration, neurons)
    float* astrocyte = nullptr;       // (duration): state after each ms
};

// State and scratch memory of one worker; reused from presentation to presentation.
class Liquid {
  public:
    Liquid(const Network& network, const Settings& settings);

    // weights (synapse), trace (neuron) and calcium (neuron) are read and, where plastic, changed in place.
    void present(const EventList& events, float* weights, float* trace, float* calcium, const Output& out);

  private:
    void detect_spikes();
    void propagate(const float* weights);
    void propagate_and_depress(float* weights);
    void update_rows(float* weights);
    void integrate(const EventList& events, int t);
    void prepare_gates(const float* trace, const float* calcium);

    const Network& net_;
    Settings set_;
    std::vector<float> potential_, current_, later_, residue_, refractory_;
    std::vector<float> row_term_, column_excitatory_, column_inhibitory_, gate_up_, gate_down_;
    std::vector<std::uint8_t> spiked_;
    std::vector<std::int32_t> spikes_;
    std::int32_t liquid_spikes_ = 0;
    float potentiation_ = 0.f, depression_ = 0.f;
};

}  // namespace nalsm
