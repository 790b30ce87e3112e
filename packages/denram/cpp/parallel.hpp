// Work items handed to a few threads. Each item writes its own part of the output, so results do not depend on
// how many threads there are.
#pragma once
#include <atomic>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

namespace denram {

template <class Worker>  // make_worker() is called once a thread and returns a callable taking an item's number
void parallel(std::int64_t n_items, std::int64_t n_threads, Worker make_worker) {
    if (n_threads > n_items) n_threads = n_items;
    std::atomic<std::int64_t> next{0};
    std::vector<std::exception_ptr> failures(static_cast<std::size_t>(n_threads > 0 ? n_threads : 1));
    auto work = [&](std::size_t which) {
        try {
            auto worker = make_worker();
            for (std::int64_t item = next++; item < n_items; item = next++) worker(item);
        } catch (...) {
            failures[which] = std::current_exception();
            next = n_items;
        }
    };
    std::vector<std::thread> threads;
    try {
        for (std::int64_t t = 1; t < n_threads; ++t) threads.emplace_back(work, static_cast<std::size_t>(t));
    } catch (...) {  // no more threads to be had: those that started, and this one, do the work
    }
    work(0);
    for (auto& thread : threads) thread.join();
    for (auto& failure : failures)
        if (failure) std::rethrow_exception(failure);
}

}  // namespace denram
