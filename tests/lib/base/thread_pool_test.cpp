#include "lib/base/thread_pool.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

namespace espalier {
namespace {

TEST_CASE("each item is done once, whatever the number of threads and items") {
  for (const size_t threads : {1, 2, 7}) {
    ThreadPool pool(threads);
    CHECK(pool.threads() == threads);
    for (const size_t count : {0, 1, 2, 3, 1000}) {
      for (int round = 0; round < 20; ++round) {
        std::vector<std::atomic<int>> done(count);
        pool.for_each(count, [&](size_t item) { ++done[item]; });
        CHECK(std::ranges::all_of(done, [](const auto& times) { return times == 1; }));
      }
    }
  }
  CHECK(ThreadPool(0).threads() >= 1);
}

TEST_CASE("the exception of the lowest item comes out, the others are done all the same") {
  for (const size_t threads : {1, 4}) {
    ThreadPool pool(threads);
    std::atomic<size_t> done = 0;
    std::string text;
    try {
      pool.for_each(100, [&](size_t item) {
        if (item == 30 || item == 70) throw std::runtime_error(std::to_string(item));
        ++done;
      });
    } catch (const std::runtime_error& error) {
      text = error.what();
    }
    CHECK(text == "30");
    if (threads > 1) CHECK(done == 98);
    pool.for_each(10, [&](size_t) { ++done; });  // still in order
    CHECK(done >= 40);
  }
}

TEST_CASE("a body may ask for more items") {
  ThreadPool pool(3);
  std::atomic<size_t> done = 0;
  pool.for_each(10, [&](size_t) { pool.for_each(10, [&](size_t) { ++done; }); });
  CHECK(done == 100);
}

}  // namespace
}  // namespace espalier
