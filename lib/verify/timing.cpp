#include "lib/verify/timing.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>

#include "lib/verify/quantile.h"

namespace espalier {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Waits for the next tick and meanwhile writes through more memory than caches hold, as the rest of
// a program would.
class Pacer {
 public:
  explicit Pacer(double interval_ms) : interval_(interval_ms / 1000) {
    if (interval_ms > 0) memory_.resize(size_t{64} << 20);
  }

  void wait() {
    if (memory_.empty()) return;
    const double tick = interval_ * std::ceil(seconds_since(start_) / interval_);
    constexpr double kMargin = 0.0005;
    while (seconds_since(start_) + kMargin < tick) {
      for (size_t i = 0; i < kChunk; i += 64) ++memory_[place_ + i];
      place_ = (place_ + kChunk) % memory_.size();
      if (++chunks_ >= memory_.size() / kChunk) {  // all of it once: nothing of ours is cached
        std::this_thread::sleep_for(
            std::chrono::duration<double>(std::max(0.0, tick - kMargin - seconds_since(start_))));
      }
    }
    chunks_ = 0;
    while (seconds_since(start_) < tick) {
    }
  }

 private:
  static constexpr size_t kChunk = size_t{64} << 10;
  double interval_;
  Clock::time_point start_ = Clock::now();
  std::vector<unsigned char> memory_;
  size_t place_ = 0, chunks_ = 0;
};

Timing summary(std::vector<double> seconds) {
  std::ranges::sort(seconds);
  const auto at = [&](double share) { return 1000 * quantile_of_rising(seconds, share); };
  return {.runs = seconds.size(), .median_ms = at(0.5), .p95_ms = at(0.95), .min_ms = at(0)};
}

}  // namespace

// Warms up, then gives each body its turn until the time is over.
std::vector<Timing> time_interleaved(std::span<const std::function<void()>> bodies,
                                     const TimingOptions& options) {
  constexpr size_t kFewest = 3;
  constexpr size_t kMost = 5'000'000;  // of samples kept per body
  constexpr double kTurn = 0.001;
  const bool paced = options.interval_ms > 0;
  const auto count = static_cast<double>(bodies.size());
  Pacer pacer(options.interval_ms);
  const Clock::time_point warm = Clock::now();
  do {
    for (const auto& body : bodies) {
      pacer.wait();
      body();
    }
  } while (seconds_since(warm) < options.warmup * count);
  std::vector<std::vector<double>> samples(bodies.size());
  const Clock::time_point begin = Clock::now();
  for (size_t round = 0; samples.front().size() < kMost; ++round) {
    if (round >= kFewest && seconds_since(begin) >= options.seconds * count) break;
    for (size_t i = 0; i < bodies.size(); ++i) {
      pacer.wait();
      const Clock::time_point turn = Clock::now();
      bodies[i]();
      double passed = seconds_since(turn);
      if (paced || passed >= kTurn) {
        samples[i].push_back(passed);
        continue;
      }
      while (passed <
             kTurn) {  // that one only brought back what the others drove out of the caches
        const double start = passed;
        bodies[i]();
        passed = seconds_since(turn);
        samples[i].push_back(passed - start);
      }
    }
  }
  std::vector<Timing> result;
  for (auto& s : samples) result.push_back(summary(std::move(s)));
  return result;
}

}  // namespace espalier
