// A team of threads that share pieces of work. The source is shared/cpp/threads.hpp; every package with a core has a
// copy.
//
// Threads are kept between calls, as starting one takes about 20 microseconds, but without OpenMP: a fork copies no
// threads, so that the child of a process that had used them would wait forever for an answer. A pool here belongs to
// the process that made it, and a child makes its own.
//
// Work often comes in a row of short pieces, and to wake a thread takes some 40 microseconds: a thread that has nothing
// to do looks for work for about as long before it sleeps. More would take time from others.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>

#if __has_include(<unistd.h>)
#include <unistd.h>
#endif

namespace core {

// What each thread of a team runs, once; the argument is true in the thread that called.
using Member = std::function<void(bool calling)>;

// Threads that wait for work of one caller at a time. They hold nothing and live as long as their process.
class Pool {
 public:
  // A pool of this process that nobody uses; release() gives it back.
  static Pool& take() {
    for (Pool* pool = all().load(); pool != nullptr; pool = pool->next_)
      if (pool->process_ == process() && !pool->taken_.exchange(true)) return *pool;
    Pool* fresh = new Pool;
    while (!all().compare_exchange_weak(fresh->next_, fresh)) {
    }
    return *fresh;
  }
  void release() { taken_ = false; }

  // Calls member in this thread and in at most `others` more; returns when all that began have ended. Threads that wake
  // up later than that are not waited for.
  void run(const Member& member, int others) {
    {
      const std::lock_guard<std::mutex> lock(guard_);
      hire(others);
      member_ = &member;
      places_ = others;
      ++job_;
    }
    others == 1 ? wake_.notify_one() : wake_.notify_all();
    member(true);
    std::unique_lock<std::mutex> lock(guard_);
    places_ = 0;
    const auto all_left = [this] { return inside_ == 0; };
    await(lock, all_left);
    done_.wait(lock, all_left);
  }

 private:
  static std::atomic<Pool*>& all() {
    static std::atomic<Pool*> first{nullptr};
    return first;
  }

  static long process() {
#if __has_include(<unistd.h>)
    return static_cast<long>(getpid());
#else
    return 0;  // a system without fork
#endif
  }

  void hire(int others) {
    try {
      for (; hired_ < others; ++hired_) std::thread(&Pool::wait_and_work, this).detach();
    } catch (const std::system_error&) {
      // The system has no thread left; those that started do the work.
    }
  }

  // Looks, for a moment and without the lock, whether something has become true.
  template <class Condition>
  static void await(std::unique_lock<std::mutex>& lock, const Condition& condition) {
    if (condition()) return;
    lock.unlock();
    const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(50);
    while (!condition() && std::chrono::steady_clock::now() < end) rest();
    lock.lock();
  }

  static void rest() {
#if defined(__x86_64__)
    for (int i = 0; i < 8; ++i) __builtin_ia32_pause();
#elif defined(__aarch64__)
    for (int i = 0; i < 8; ++i) __asm__ volatile("yield");
#endif
  }

  void wait_and_work() {
    std::uint64_t seen = 0;
    std::unique_lock<std::mutex> lock(guard_);
    for (;;) {
      const auto wanted = [&] { return places_ > 0 && job_ != seen; };
      await(lock, wanted);
      wake_.wait(lock, wanted);
      seen = job_;
      --places_;
      ++inside_;
      const Member& member = *member_;
      lock.unlock();
      member(false);
      lock.lock();
      if (--inside_ == 0) done_.notify_one();
    }
  }

  const long process_ = process();
  Pool* next_ = all().load();
  std::atomic<bool> taken_{true};
  std::mutex guard_;  // of what follows
  std::condition_variable wake_, done_;
  const Member* member_ = nullptr;
  std::atomic<std::uint64_t> job_ = 0;  // its number
  std::atomic<int> places_ = 0;         // threads that may still begin it
  std::atomic<int> inside_ = 0;         // threads that are at it
  int hired_ = 0;
};

// Every thread calls make_worker() once and the result with each piece it takes, 0 ... pieces - 1. The calling thread
// also calls between() after each of its pieces. What any of them throws ends the work early and is thrown here, first
// of all what the calling thread threw.
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
      if (!failure || calling) failure = std::current_exception();
      next = pieces;
    }
  };
  const int team = static_cast<int>(pieces < threads ? pieces : threads);
  if (team > 1) {
    Pool& pool = Pool::take();
    pool.run(std::cref(member), team - 1);
    pool.release();
  } else {
    member(true);
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace core
