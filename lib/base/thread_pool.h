#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace espalier {

/// A fixed set of worker threads. The work is cut into items that never share a result, so results
/// do not depend on the number of threads.
class ThreadPool {
 public:
  /// `threads` counts the calling thread; 0 means all processors.
  explicit ThreadPool(size_t threads);
  /// Work is done by threads of somebody else: run(count, body, argument) calls body(argument, 0) to
  /// body(argument, count - 1), on at most `threads` (from 1 on) threads, and returns when all have
  /// ended.
  using Body = void (*)(void* argument, size_t item);
  using Run = std::function<void(size_t count, Body body, void* argument)>;
  ThreadPool(size_t threads, Run run);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  size_t threads() const;

  /// Calls body(0) ... body(count - 1) and returns when all have ended. An exception of a body is
  /// rethrown here (the one of the lowest item). A call from inside a body runs its items on that
  /// thread.
  void for_each(size_t count, const std::function<void(size_t)>& body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace espalier
