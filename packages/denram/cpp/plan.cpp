#include "plan.hpp"

#include <cmath>
#include <map>
#include <mutex>

namespace denram {
namespace {

constexpr std::int64_t half_multiple = 48;  // the inverse transform works on up to 3 vectors of 16 steps at a time
constexpr std::size_t kept_plans = 8;

std::shared_ptr<const Plan> make_plan(std::int64_t steps, std::int64_t lanes) {
  auto plan = std::make_shared<Plan>();
  plan->steps = steps;
  plan->lanes = lanes;
  plan->n_blocks = 1;
  while (2 * (plan->n_blocks * lanes - 1) < steps) ++plan->n_blocks;
  const std::int64_t n_frequencies = plan->n_blocks * lanes, period = 2 * (n_frequencies - 1);
  plan->period = period;
  plan->half = (period / 2 + half_multiple) / half_multiple * half_multiple;
  std::vector<double> cosine(static_cast<std::size_t>(period)), sine(static_cast<std::size_t>(period));
  for (std::int64_t j = 0; j < period; ++j) {
    const double angle = 6.283185307179586476925 * static_cast<double>(j) / static_cast<double>(period);
    cosine[static_cast<std::size_t>(j)] = std::cos(angle);
    sine[static_cast<std::size_t>(j)] = std::sin(angle);
  }
  plan->phases.resize(static_cast<std::size_t>(steps * 2 * n_frequencies));
  plan->waves.resize(static_cast<std::size_t>(n_frequencies * 2 * plan->half));
  for (std::int64_t f = 0; f < n_frequencies; ++f) {
    float* phase = plan->phases.data() + (f / lanes) * steps * 2 * lanes + f % lanes;
    for (std::int64_t t = 0; t < steps; ++t) {
      const auto j = static_cast<std::size_t>(f * t % period);
      phase[t * 2 * lanes] = static_cast<float>(cosine[j]);
      phase[t * 2 * lanes + lanes] = static_cast<float>(-sine[j]);
    }
    const double weight = (f == 0 || f == n_frequencies - 1 ? 1.0 : 2.0) / static_cast<double>(period);
    float* wave = plan->waves.data() + f * 2 * plan->half;
    for (std::int64_t s = 0; s <= period / 2; ++s) {
      const auto j = static_cast<std::size_t>(f * s % period);
      wave[s] = static_cast<float>(weight * cosine[j]);
      wave[plan->half + s] = static_cast<float>(-weight * sine[j]);
    }
  }
  return plan;
}

}  // namespace

std::shared_ptr<const Plan> plan_for(std::int64_t steps, std::int64_t lanes) {
  static std::mutex lock;
  static std::map<std::pair<std::int64_t, std::int64_t>, std::shared_ptr<const Plan>> plans;
  const std::lock_guard<std::mutex> guard(lock);
  auto& plan = plans[{steps, lanes}];
  if (!plan) {
    auto made = make_plan(steps, lanes);
    if (plans.size() > kept_plans) plans.clear();
    return plans[{steps, lanes}] = made;
  }
  return plan;
}

}  // namespace denram
