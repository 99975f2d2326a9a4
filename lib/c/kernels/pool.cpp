#include <utility>

#include "lib/c/kernels/guard.h"
#include "lib/c/kernels/handles.h"

namespace espalier {
namespace {

constexpr size_t kMostThreads = 1024;

void expect_threads(size_t threads, size_t least) {
  expect(threads >= least && threads <= kMostThreads, "threads is {}, expected {} to {}", threads,
         least, kMostThreads);
}

}  // namespace

ThreadPool& pool_of(espalier_pool* pool) {
  static ThreadPool alone(1);  // has no state that a call changes
  return pool == nullptr ? alone : pool->pool;
}

}  // namespace espalier

using namespace espalier;

extern "C" {

espalier_status espalier_pool_create(size_t threads, espalier_pool** pool) {
  return guarded([&] {
    espalier_pool*& result = not_null(pool, "pool");
    result = nullptr;
    expect_threads(threads, 0);
    result = new espalier_pool{ThreadPool(threads)};
  });
}

espalier_status espalier_pool_create_from(size_t threads, espalier_run run, void* context,
                                          espalier_pool** pool) {
  return guarded([&] {
    espalier_pool*& result = not_null(pool, "pool");
    result = nullptr;
    expect_threads(threads, 1);
    expect(run != nullptr, "run is null");
    result = new espalier_pool{
        ThreadPool(threads, [run, context](size_t count, ThreadPool::Body body, void* argument) {
          run(context, count, body, argument);
        })};
  });
}

void espalier_pool_destroy(espalier_pool* pool) { delete pool; }

}  // extern "C"
