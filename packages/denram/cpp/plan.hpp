// Tables of one transform length: phases of single steps and the waves of the way back.
#pragma once
#include <memory>
#include <vector>

#include "problem.hpp"

namespace denram {

struct Plan {
  std::int64_t steps;         // time steps that must fit
  std::int64_t lanes;         // frequencies per block
  std::int64_t period;        // transform length, at least `steps`
  std::int64_t n_blocks;      // blocks of frequencies; all period / 2 + 1 frequencies fill them exactly
  std::int64_t half;          // steps 0 ... period / 2, padded
  std::vector<float> phases;  // (block, time, 2, lanes): cos and -sin of 2 pi f t / period
  std::vector<float> waves;   // (frequency, 2, half): cos and -sin with the weight of the inverse transform
};

// Plan for a number of steps, made once and kept.
std::shared_ptr<const Plan> plan_for(std::int64_t steps, std::int64_t lanes);

}  // namespace denram
