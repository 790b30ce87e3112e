// The random numbers in plain C++; AVX2 and AVX-512 have their own form.
#pragma once

#include "problem.hpp"

namespace sbs {
namespace {

// 64 numbers in [0, 1): Philox4x32-10, key = seed, counter = (position, 16 * block + lane); word w of a lane is
// spike 16 w + lane of the block.
inline void draw(std::uint64_t seed, std::uint64_t position, std::uint32_t block, float* out) {
  for (std::uint32_t lane = 0; lane < kLanes; ++lane) {
    std::uint32_t c[4] = {static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(position >> 32),
                          block * kLanes + lane, 0};
    std::uint32_t k0 = static_cast<std::uint32_t>(seed), k1 = static_cast<std::uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9U, k1 += 0xBB67AE85U) {
      const std::uint64_t p0 = std::uint64_t{0xD2511F53U} * c[0], p1 = std::uint64_t{0xCD9E8D57U} * c[2];
      const std::uint32_t high0 = static_cast<std::uint32_t>(p0 >> 32), high1 = static_cast<std::uint32_t>(p1 >> 32);
      const std::uint32_t next0 = high1 ^ c[1] ^ k0, next2 = high0 ^ c[3] ^ k1;
      c[1] = static_cast<std::uint32_t>(p1);
      c[3] = static_cast<std::uint32_t>(p0);
      c[0] = next0;
      c[2] = next2;
    }
    for (int w = 0; w < 4; ++w) out[16 * w + static_cast<int>(lane)] = static_cast<float>(c[w] >> 8) * 0x1p-24F;
  }
}

}  // namespace
}  // namespace sbs
