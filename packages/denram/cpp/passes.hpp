// The passes over a batch, and what both of them need.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "kernels.hpp"
#include "parallel.hpp"
#include "problem.hpp"

namespace denram {

inline std::size_t size(std::int64_t count) { return static_cast<std::size_t>(count); }

// The kernels in use: of core::isa(), or what was chosen of core::all_isa().
const Kernels& kernels();
void use_kernels(const std::string& isa);

// Weights in the order the kernels walk through them: (n_in, n_out, n_delays).
std::vector<float> taps_of(const Problem& p);

// The longest delay; a negative one counts as longer than any other.
std::uint32_t longest_lag(const Problem& p);

float bias_of(const Problem& p, std::int64_t output);

// Current of one output in one sample, summed in the same order as by the scatter kernel.
void exact_current(const Problem& p, const float* taps, std::int64_t sample, std::int64_t output, float* current);

void forward_scatter(const Problem& p, const float* taps, const Team& team, Window* windows, float* scores,
                     float* currents, float* potentials);
void forward_spectral(const Problem& p, const float* taps, const Team& team, Window* windows, float* scores);
void backward(const Problem& p, const Window* windows, const float* upstream, const Team& team, float* gradient);

}  // namespace denram
