#include "membrane.hpp"

#include <algorithm>
#include <cmath>

namespace denram {
namespace {

float drive(const float* current, const float* potential, std::int64_t stride, std::int64_t step, float leak) {
  const float before = step > 0 ? potential[(step - 1) * stride] : 0.0F;
  return leak * before + current[step * stride];
}

}  // namespace

void integrate(const float* current, std::int64_t steps, float leak, float* potential) {
  float value = 0;
  for (std::int64_t s = 0; s < steps; ++s) potential[s] = value = rectified(leak * value + current[s]);
}

Window exact_window(const float* current, const float* potential, std::int64_t steps, float leak) {
  const float* top = std::max_element(potential, potential + steps);
  Window window{0, static_cast<std::int32_t>(top - potential), 0};
  window.general = std::count(top, potential + steps, *top) > 1 ? 1 : 0;
  double weight = 1;
  for (std::int64_t s = window.peak; s >= 0 && !window.general; --s, weight *= static_cast<double>(leak)) {
    if (potential[s] == 0.0F) {
      window.first = static_cast<std::int32_t>(s + 1);
      window.general = drive(current, potential, 1, s, leak) < 0 ? 0 : 1;
      return window;
    }
    if (weight < negligible) {
      window.first = static_cast<std::int32_t>(s);
      return window;
    }
  }
  return window;
}

bool safe_window(const float* current, const float* potential, std::int64_t stride, std::int64_t steps, float leak,
                 float tolerance, Window& window) {
  float top = 0;
  std::int64_t peak = 0, near = 0;
  for (std::int64_t s = 0; s < steps; ++s)
    if (potential[s * stride] > top) top = potential[s * stride], peak = s;
  for (std::int64_t s = 0; s < steps; ++s) near += potential[s * stride] >= top - tolerance ? 1 : 0;
  if (near > 1 || !(top > tolerance)) return false;
  window = Window{0, static_cast<std::int32_t>(peak), 0};
  double weight = 1;
  for (std::int64_t s = peak; s >= 0 && weight >= negligible; --s, weight *= static_cast<double>(leak)) {
    window.first = static_cast<std::int32_t>(s);
    if (potential[s * stride] > tolerance) continue;
    window.first = static_cast<std::int32_t>(s + 1);
    return drive(current, potential, stride, s, leak) < -tolerance;
  }
  return true;
}

void general_gradient(const float* current, const float* potential, std::int64_t steps, float leak, float* gradient) {
  const float top = *std::max_element(potential, potential + steps);
  const float share = 1.0F / static_cast<float>(std::count(potential, potential + steps, top));
  float later = 0;
  for (std::int64_t s = steps - 1; s >= 0; --s) {
    const float value = drive(current, potential, 1, s, leak);
    const float slope = value > 0 ? 1.0F : value < 0 ? 0.0F : 0.5F;
    gradient[s] = later = slope * ((potential[s] == top ? share : 0.0F) + leak * later);
  }
}

}  // namespace denram
