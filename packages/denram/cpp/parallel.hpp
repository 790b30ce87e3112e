// Work items handed to a few threads. Each item writes its own part of the output, so results do not depend on
// how many threads there are.
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>

#include "common/threads.hpp"

namespace denram {

struct Team {
  std::int64_t threads;
  std::function<void()> between;  // called in the calling thread, after each of its items; may throw
};

template <class Worker>  // make_worker() is called once a thread and returns a callable taking an item's number
void parallel(std::int64_t n_items, const Team& team, const Worker& make_worker) {
  const auto most = std::int64_t{std::numeric_limits<int>::max()};
  core::share(static_cast<int>(std::min(team.threads, most)), n_items, make_worker, team.between);
}

}  // namespace denram
