// Lets a long simulation end early: the thread that the caller waits for asks from time to time whether it shall, and
// the others hear of it.
#pragma once
#include <atomic>
#include <chrono>
#include <functional>
#include <thread>
#include <utility>

namespace nalsm {

class Watch {
 public:
  static constexpr int stride = 8;  // simulated milliseconds between two glances

  // `ask` throws where the caller wants an end. It is called by the constructing thread, at most every 50 ms.
  explicit Watch(std::function<void()> ask) : ask_(std::move(ask)) {}

  // Any thread: whether to continue. In the constructing thread it throws what `ask` throws.
  bool glance() {
    if (stopped_.load(std::memory_order_relaxed)) return false;
    if (std::this_thread::get_id() == caller_) look();
    return true;
  }

 private:
  void look() {
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < std::chrono::milliseconds(50)) return;
    last_ = now;
    try {
      ask_();
    } catch (...) {
      stopped_ = true;
      throw;
    }
  }

  std::function<void()> ask_;
  std::atomic<bool> stopped_{false};
  std::thread::id caller_ = std::this_thread::get_id();
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace nalsm
