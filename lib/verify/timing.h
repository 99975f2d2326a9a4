#pragma once

#include <functional>
#include <span>
#include <vector>

namespace espalier {

/// Median, 95th percentile and minimum of interleaved runs, in milliseconds.
struct Timing {
  size_t runs = 0;
  double median_ms = 0, p95_ms = 0, min_ms = 0;
};

struct TimingOptions {
  double warmup = 2, seconds = 10;  ///< per body
  double interval_ms = 0;  ///< a run begins at most every so often, with cooled caches in between
};

/// Times the bodies in turns, at least three each. A turn is one run, or several that take a
/// millisecond together: then the first is not counted, so that caches hold what the body uses and
/// not what the body before it used. With an interval each turn is one run.
std::vector<Timing> time_interleaved(std::span<const std::function<void()>> bodies,
                                     const TimingOptions& options);

}  // namespace espalier
