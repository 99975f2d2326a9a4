#pragma once

#include <optional>

#include "apps/onnxruntime/api.h"
#include "lib/base/thread_pool.h"

namespace espalier::ort {

/// espalier's work on onnxruntime's threads: those of the session whose run is at hand. One thread
/// until a run has counted them.
class SessionThreads {
 public:
  explicit SessionThreads(const Api& api);

  /// The pool, at the same address all the time.
  ThreadPool& pool() { return *pool_; }

  /// Before a run; `threads` as count() gave it.
  void enter(OrtKernelContext* context, size_t threads);

  /// How many threads of the session take work at a time. onnxruntime does not tell: each piece of
  /// some work waits until as many have come as the machine has processors, two milliseconds at most.
  static size_t count(const Api& api, const OrtKernelContext* context);

 private:
  void run(size_t count, ThreadPool::Body body, void* argument) const;

  Api api_;
  OrtKernelContext* context_ = nullptr;
  std::optional<ThreadPool> pool_;
};

}  // namespace espalier::ort
