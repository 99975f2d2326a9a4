#pragma once

#include <optional>
#include <vector>

namespace espalier {

struct TimePoint {
  double sparsity = 0, ms = 0;
};

/// Time of a packed product over the share of its weights that is kept: a line through measured
/// points, and the dense time beside it. All in milliseconds.
struct TimeLine {
  double dense = 0;
  double fixed = 0, per_density = 0;  ///< packed = fixed + per_density * density
  std::vector<TimePoint> measured =
      {};  ///< by rising sparsity; between them these count, not the line

  double packed(double sparsity) const;
  double speedup(double sparsity) const { return dense / packed(sparsity); }
  /// The least share of zeros from which on packed is faster; nothing where it never is.
  std::optional<double> break_even() const;
  /// Whether pruning pays: at least 1.25 times as fast at 80 % zeros.
  bool worth() const { return speedup(0.8) >= 1.25; }
};

/// Least squares; one point gives a line through the origin.
TimeLine fit_line(double dense, const std::vector<TimePoint>& packed);

}  // namespace espalier
