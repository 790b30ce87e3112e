// A team of threads that share pieces of work: OpenMP where the compiler has it, else std::thread.
//
// ThreadSanitizer does not see how the common OpenMP runtimes synchronise, so its build takes std::thread.
#pragma once

#include <atomic>
#include <cstdint>
#if !defined(_OPENMP)
#include <thread>
#include <vector>
#endif

namespace sbs {

// Every thread calls make_worker() once and the result with each piece it takes, 0 ... pieces - 1.
template <class MakeWorker>
void share(int threads, std::int64_t pieces, const MakeWorker& make_worker) {
  std::atomic<std::int64_t> next{0};
  const auto member = [&] {
    auto worker = make_worker();
    for (std::int64_t piece = next++; piece < pieces; piece = next++) worker(piece);
  };
  const int team = static_cast<int>(pieces < threads ? pieces : threads);
  if (team <= 1) return member();
#if defined(_OPENMP)
#pragma omp parallel num_threads(team)
  member();
#else
  std::vector<std::thread> others;
  for (int k = 1; k < team; ++k) others.emplace_back(member);
  member();
  for (std::thread& other : others) other.join();
#endif
}

}  // namespace sbs
