// A team of threads that share pieces of work.
//
// The team lives for one call and nothing of it is kept. So a forked child can compute: a pool, or an OpenMP runtime,
// would wait there for ever for threads that the fork did not copy. Starting a thread takes about 20 microseconds.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace sbs {

// Every thread calls make_worker() once and the result with each piece it takes, 0 ... pieces - 1. The calling thread
// also calls between() after each of its pieces. What any of them throws ends the work early and is thrown here.
template <class MakeWorker, class Between>
void share(int threads, std::int64_t pieces, const MakeWorker& make_worker, const Between& between) {
  std::atomic<std::int64_t> next{0};
  std::exception_ptr failure;
  std::mutex guard;
  const auto member = [&](bool calling) {
    try {
      auto worker = make_worker();
      for (std::int64_t piece = next++; piece < pieces; piece = next++) {
        worker(piece);
        if (calling) between();
      }
    } catch (...) {
      const std::lock_guard<std::mutex> lock(guard);
      if (!failure) failure = std::current_exception();
      next = pieces;
    }
  };
  const int team = static_cast<int>(pieces < threads ? pieces : threads);
  std::vector<std::thread> others;
  try {
    for (int k = 1; k < team; ++k) others.emplace_back(member, false);
  } catch (const std::system_error&) {
    // The system has no thread left; those that started do the work.
  }
  member(true);
  for (std::thread& other : others) other.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace sbs
