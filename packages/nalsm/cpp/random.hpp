// Counter-based random numbers (Philox4x32, ten rounds): a value depends on its key and counter alone,
// so results do not change with the number of threads, the batch size or the order of samples.
#pragma once
#include <array>
#include <cmath>
#include <cstdint>

namespace nalsm {

inline std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::uint64_t key) {
  auto k0 = static_cast<std::uint32_t>(key);
  auto k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53u} * counter[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ k0, static_cast<std::uint32_t>(b),
               static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ k1, static_cast<std::uint32_t>(a)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return counter;
}

// A stream of uniform numbers in (0, 1] for one (seed, sample, channel).
class UniformStream {
 public:
  UniformStream(std::uint64_t seed, std::uint64_t sample, std::uint32_t channel)
      : key_(seed),
        counter_{0, channel, static_cast<std::uint32_t>(sample), static_cast<std::uint32_t>(sample >> 32)} {}

  double next() {
    if (used_ == 4) {
      block_ = philox(counter_, key_);
      ++counter_[0];
      used_ = 0;
    }
    return (static_cast<double>(block_[used_++]) + 1.0) * 0x1p-32;
  }

 private:
  std::uint64_t key_;
  std::array<std::uint32_t, 4> counter_;
  std::array<std::uint32_t, 4> block_{};
  unsigned used_ = 4;
};

}  // namespace nalsm
