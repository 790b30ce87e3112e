// Values that fade exponentially reach the smallest numbers of the float format, on which processors are many times
// slower. While an object of this class lives, its thread takes them as 0: they are below 1e-37, too small to change a
// weight or a potential that is not 0 itself. The source is shared/cpp/denormals.hpp.
#pragma once
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif
#include <cstdint>

namespace core {
namespace {  // for files that are compiled once for each instruction set: each has its own

class DenormalsAreZero {
 public:
  DenormalsAreZero() : before_(read()) { write(before_ | flags); }
  ~DenormalsAreZero() { write(before_); }
  DenormalsAreZero(const DenormalsAreZero&) = delete;
  DenormalsAreZero& operator=(const DenormalsAreZero&) = delete;

 private:
#if defined(__x86_64__)
  using Register = std::uint32_t;
  static constexpr Register flags = 0x8040;  // flush to zero, denormals are zero
  static Register read() { return _mm_getcsr(); }
  static void write(Register value) { _mm_setcsr(value); }
#elif defined(__aarch64__)
  using Register = std::uint64_t;
  static constexpr Register flags = 1u << 24;  // flush to zero
  static Register read() {
    Register value;
    asm volatile("mrs %0, fpcr" : "=r"(value));
    return value;
  }
  static void write(Register value) { asm volatile("msr fpcr, %0" : : "r"(value)); }
#else
  using Register = std::uint32_t;
  static constexpr Register flags = 0;
  static Register read() { return 0; }
  static void write(Register) {}
#endif
  Register before_;
};

}  // namespace
}  // namespace core
