// Running a problem: which instruction set, how many threads.
#pragma once

#include <functional>
#include <string>

#include "problem.hpp"

namespace sbs {

// Called by the calling thread between two pieces of work; what it throws ends the work.
using Between = std::function<void()>;
inline void nothing_between() {}

// Works on all positions with the kernels of one of core::all_isa(); false if the image holds a negative, infinite or
// missing value.
bool run(const Problem& problem, int threads, const std::string& isa, const Between& between = nothing_between);

// Cuts all patches: out is (position, component).
void cut_patches(const Geometry& geometry, const float* image, const std::int64_t* offset, std::int64_t components,
                 float* out, int threads, const Between& between = nothing_between);

}  // namespace sbs
