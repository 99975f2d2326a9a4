#pragma once

#include <array>
#include <cstdint>

#include "lib/ir/model.h"

namespace espalier {

/// How large weights are, as shares of the root mean square of the tensor that they belong to: what
/// is far below it is what pruning drops first.
struct Magnitudes {
  /// Upper limits of all groups but the last, which has none; the first holds zeros alone.
  static constexpr std::array<double, 7> kLimits{0, 0.125, 0.25, 0.5, 1, 2, 4};
  std::array<uint64_t, kLimits.size() + 1> counts{};

  uint64_t total() const;
};

/// Counts the elements of a float weight, decoded where it is packed; NaN and infinities belong to
/// the last group. Cost  two passes over one tensor of f32.
void add_magnitudes(const Weight& weight, Magnitudes& magnitudes);

}  // namespace espalier
