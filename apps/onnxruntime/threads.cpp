#include "apps/onnxruntime/threads.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <set>
#include <thread>

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

namespace espalier::ort {
namespace {

// body(argument, 0) to body(argument, count - 1) on the session's threads: behind what was done
// before, and before what follows. Thread sanitizer is told so: it does not see how onnxruntime,
// which is not built for it, hands work over.
class Work {
 public:
  Work(ThreadPool::Body body, void* argument) : body_(body), argument_(argument) {}

  void run(const Api& api, const OrtKernelContext* context, size_t count) {
    release(&begin_);
    api.check(api->KernelContext_ParallelFor(
        context, [](void* work, size_t item) { static_cast<Work*>(work)->item(item); }, count, 0,
        this));
    acquire(&end_);
  }

 private:
  void item(size_t item) {
    acquire(&begin_);
    body_(argument_, item);
    release(&end_);
  }

#ifdef __SANITIZE_THREAD__
  static void acquire(char* of) { __tsan_acquire(of); }
  static void release(char* of) { __tsan_release(of); }
#else
  static void acquire(char*) {}
  static void release(char*) {}
#endif

  ThreadPool::Body body_;
  void* argument_;
  char begin_ = 0, end_ = 0;
};

using Clock = std::chrono::steady_clock;

struct Meeting {
  std::mutex mutex;
  std::set<std::thread::id> present;
  size_t expected;
  Clock::time_point end;

  bool is_over() {
    const std::lock_guard lock(mutex);
    return present.size() >= expected || Clock::now() > end;
  }

  void attend() noexcept {
    try {
      {
        const std::lock_guard lock(mutex);
        present.insert(std::this_thread::get_id());
      }
      while (!is_over()) std::this_thread::yield();
    } catch (const std::exception&) {  // one thread less is known
    }
  }
};

}  // namespace

SessionThreads::SessionThreads(const Api& api) : api_(api) { enter(nullptr, 1); }

void SessionThreads::enter(OrtKernelContext* context, size_t threads) {
  context_ = context;
  if (pool_ && pool_->threads() == threads) return;
  pool_.emplace(threads, [this](size_t count, ThreadPool::Body body, void* argument) {
    run(count, body, argument);
  });
}

void SessionThreads::run(size_t count, ThreadPool::Body body, void* argument) const {
  Work(body, argument).run(api_, context_, count);
}

size_t SessionThreads::count(const Api& api, const OrtKernelContext* context) {
  const size_t processors = std::max(1U, std::thread::hardware_concurrency());
  if (processors == 1) return 1;
  Meeting meeting{{}, {}, processors, Clock::now() + std::chrono::milliseconds(2)};
  Work([](void* argument, size_t) { static_cast<Meeting*>(argument)->attend(); }, &meeting)
      .run(api, context, processors);
  return std::max<size_t>(1, meeting.present.size());
}

}  // namespace espalier::ort
