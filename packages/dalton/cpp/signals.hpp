// Interrupts of a running kernel by Python's signals.
#pragma once

#include <pybind11/pybind11.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "problem.hpp"

namespace dalton {

// Lets Python handle its signals in the thread that called, at most every 50 ms; what a handler raises, as
// KeyboardInterrupt, is thrown there and ends the work of the others. The clock is read about every millisecond.
class Signals : public Between {
 public:
  void operator()() override {
    if (std::this_thread::get_id() != caller_) {
      if (over_.load(std::memory_order_relaxed)) throw Over();
      return;
    }
    if (++calls_ < calls_between_reads_) return;
    calls_ = 0;
    const auto now = Clock::now();
    if (now - read_ < std::chrono::milliseconds(1)) calls_between_reads_ *= 2;
    if (now - read_ > std::chrono::milliseconds(10)) calls_between_reads_ = 1;
    read_ = now;
    if (now - handled_ < std::chrono::milliseconds(50)) return;
    handled_ = now;
    const pybind11::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals() == 0) return;
    over_ = true;
    throw pybind11::error_already_set();
  }

 private:
  using Clock = std::chrono::steady_clock;
  struct Over {};

  const std::thread::id caller_ = std::this_thread::get_id();
  std::atomic<bool> over_{false};
  Index calls_ = 0, calls_between_reads_ = 1;
  Clock::time_point handled_ = Clock::now(), read_ = handled_;
};

}  // namespace dalton
