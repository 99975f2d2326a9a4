#include "lib/base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace espalier {
namespace {

thread_local bool inside_body = false;

}  // namespace

struct ThreadPool::State {
  std::mutex mutex;
  std::condition_variable wake, done;
  const std::function<void(size_t)>* body = nullptr;
  size_t count = 0;
  std::atomic<size_t> next{0};
  size_t round = 0;    // grows with every for_each; a worker joins each round once
  size_t working = 0;  // workers that have not left this round
  bool stop = false;
  std::exception_ptr error;
  size_t error_item = 0;
  std::vector<std::thread> workers;
  Run run;  // of somebody else's threads; else empty
  size_t threads = 1;

  void do_item(size_t item) {
    try {
      (*body)(item);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!error || item < error_item) {
        error = std::current_exception();
        error_item = item;
      }
    }
  }

  void work() {
    inside_body = true;
    for (size_t item = next.fetch_add(1); item < count; item = next.fetch_add(1)) do_item(item);
    inside_body = false;
  }

  void run_elsewhere() {
    run(
        count,
        [](void* argument, size_t item) {
          inside_body = true;
          static_cast<State*>(argument)->do_item(item);
          inside_body = false;
        },
        this);
  }

  void worker() {
    size_t seen = 0;
    std::unique_lock lock(mutex);
    while (true) {
      wake.wait(lock, [&] { return stop || round != seen; });
      if (stop) return;
      seen = round;
      lock.unlock();
      work();
      lock.lock();
      if (--working == 0) done.notify_one();
    }
  }
};

ThreadPool::ThreadPool(size_t threads) : state_(std::make_unique<State>()) {
  if (threads == 0) threads = std::max(1U, std::thread::hardware_concurrency());
  state_->workers.reserve(threads - 1);
  try {
    for (size_t i = 1; i < threads; ++i)
      state_->workers.emplace_back([state = state_.get()] { state->worker(); });
  } catch (const std::system_error&) {
    // The system gives no more: those that there are do the same work.
  }
  state_->threads = state_->workers.size() + 1;
}

ThreadPool::ThreadPool(size_t threads, Run run) : state_(std::make_unique<State>()) {
  state_->threads = std::max<size_t>(threads, 1);
  state_->run = std::move(run);
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stop = true;
  }
  state_->wake.notify_all();
  for (std::thread& worker : state_->workers) worker.join();
}

size_t ThreadPool::threads() const { return state_->threads; }

void ThreadPool::for_each(size_t count, const std::function<void(size_t)>& body) {
  if (count <= 1 || state_->threads == 1 || inside_body) {
    for (size_t i = 0; i < count; ++i) body(i);
    return;
  }
  std::unique_lock lock(state_->mutex);
  state_->body = &body;
  state_->count = count;
  state_->error = nullptr;
  if (state_->run) {
    lock.unlock();
    state_->run_elsewhere();
    if (state_->error) std::rethrow_exception(state_->error);
    return;
  }
  state_->next = 0;
  state_->working = state_->workers.size();
  ++state_->round;
  lock.unlock();
  state_->wake.notify_all();
  state_->work();
  lock.lock();
  state_->done.wait(lock, [&] { return state_->working == 0; });
  if (state_->error) std::rethrow_exception(state_->error);
}

}  // namespace espalier
