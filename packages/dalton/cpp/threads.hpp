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

namespace dalton {

// Calls work(piece) for 0 ... pieces - 1; who takes which is left to chance, so pieces must not depend on one another.
template <class Work>
void share(int threads, std::int64_t pieces, const Work& work) {
  std::atomic<std::int64_t> next{0};
  const auto member = [&] {
    for (std::int64_t piece = next++; piece < pieces; piece = next++) work(piece);
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

}  // namespace dalton
