#include "apps/onnxruntime/threads.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <set>
#include <thread>

namespace espalier::ort {
namespace {

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
  api_.check(api_->KernelContext_ParallelFor(context_, body, count, 0, argument));
}

size_t SessionThreads::count(const Api& api, const OrtKernelContext* context) {
  const size_t processors = std::max(1U, std::thread::hardware_concurrency());
  if (processors == 1) return 1;
  Meeting meeting{{}, {}, processors, Clock::now() + std::chrono::milliseconds(2)};
  api.check(api->KernelContext_ParallelFor(
      context, [](void* argument, size_t) { static_cast<Meeting*>(argument)->attend(); },
      processors, 0, &meeting));
  return std::max<size_t>(1, meeting.present.size());
}

}  // namespace espalier::ort
