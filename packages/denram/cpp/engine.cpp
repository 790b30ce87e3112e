// The C functions Python calls.
#include "engine.hpp"

#include <vector>

#include "passes.hpp"

namespace denram {
namespace {

// Whether transforms are expected to be faster than adding single spikes; constants measured, see the benchmarks.
bool spectral_pays(const Problem& p) {
    double events = 0;
    for (std::int64_t s = 0; s < p.n_samples; ++s) {
        const std::int64_t* starts = p.starts + s * (p.n_in + 1);
        events += static_cast<double>(starts[p.n_in] - starts[0]);
    }
    const auto outputs = static_cast<double>(p.n_out), steps = static_cast<double>(p.steps);
    const double lanes = static_cast<double>(kernels().lanes);
    const double adding = events * outputs * static_cast<double>(p.n_delays);
    const double product = static_cast<double>(p.n_samples * p.n_in) * outputs * steps * 2 / lanes;
    const double transforms = (events + static_cast<double>(p.n_in * p.n_delays) * outputs) * steps * 2 / lanes;
    return product + transforms < adding * 1.5;
}

}  // namespace
}  // namespace denram

using denram::Problem;
using denram::Window;

const char* denram_variant() { return denram::kernels().name; }

int denram_abi() { return DENRAM_ABI; }

int denram_forward(const Problem* problem, int method, std::int64_t threads, Window* windows, float* scores,
                   float* currents, float* potentials) noexcept {
    try {
        const std::vector<float> taps = denram::taps_of(*problem);
        const bool spectral = !currents && (method == 2 || (method == 0 && denram::spectral_pays(*problem)));
        if (spectral)
            denram::forward_spectral(*problem, taps.data(), threads, windows, scores);
        else
            denram::forward_scatter(*problem, taps.data(), threads, windows, scores, currents, potentials);
        return 0;
    } catch (...) {
        return 1;
    }
}

int denram_backward(const Problem* problem, const Window* windows, const float* upstream, std::int64_t threads,
                    float* gradient) noexcept {
    try {
        denram::backward(*problem, windows, upstream, threads, gradient);
        return 0;
    } catch (...) {
        return 1;
    }
}
