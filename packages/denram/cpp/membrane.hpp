// Rectified leaky integrator of one output in one sample, its maximum and the gradient of that maximum.
#pragma once
#include "problem.hpp"

namespace denram {

constexpr double negligible = 1e-9;  // weights leak^n below this are dropped from gradients

// max(0, value); a NaN stays one, so that a spoilt weight is seen in every later step and in the score.
inline float rectified(float value) { return value < 0.0F ? 0.0F : value; }

// The potential at the peak, or NaN where the last potential is: a NaN never leaves the membrane.
inline float score_of(const float* potential, std::int64_t steps, const Window& window) {
  const float last = potential[steps - 1];
  return last != last ? last : potential[window.peak];
}

// potential[s] = max(0, leak * potential[s - 1] + current[s])
void integrate(const float* current, std::int64_t steps, float leak, float* potential);

// Window of exact currents; marks what needs the full recursion (equal maxima, a drive of exactly zero).
Window exact_window(const float* current, const float* potential, std::int64_t steps, float leak);

// Window of currents that carry an error of up to `tolerance`; false where that leaves the window in doubt.
// Arrays hold every `stride`-th value.
bool safe_window(const float* current, const float* potential, std::int64_t stride, std::int64_t steps, float leak,
                 float tolerance, Window& window);

// Derivative of the maximum with respect to every current: slope 0.5 at a drive of exactly zero, equal maxima share.
void general_gradient(const float* current, const float* potential, std::int64_t steps, float leak, float* gradient);

}  // namespace denram
