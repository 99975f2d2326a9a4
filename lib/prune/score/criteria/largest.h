#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

#include "lib/prune/score/criteria/over_blocks.h"

namespace espalier {

/// Largest |w| of the block, compared as bit patterns: those of NaN lie above infinity's.
struct Largest {
  using Number = uint32_t;
  static constexpr uint32_t kInfinity = 0x7F800000;
  static void add(uint32_t& most, float element) {
    most = std::max(most, std::bit_cast<uint32_t>(element) & 0x7FFFFFFF);
  }
  static void join(uint32_t& most, uint32_t column) { most = std::max(most, column); }
  static float finish(uint32_t most) {
    return most > kInfinity ? std::numeric_limits<float>::infinity() : std::bit_cast<float>(most);
  }
};

}  // namespace espalier
