#include <cmath>
#include <limits>

#include "lib/prune/score/criteria/over_blocks.h"

namespace espalier {
namespace {

/// Sum of |w| over the block, in f64. Magnitude pruning of arXiv:1710.01878, block by block.
struct Absolute {
  using Number = double;
  static void add(double& sum, float element) { sum += std::fabs(element); }
  static void join(double& sum, double column) { sum += column; }
  static float finish(double sum) {
    return std::isnan(sum) ? std::numeric_limits<float>::infinity() : static_cast<float>(sum);
  }
};

}  // namespace

constinit const Criterion l1_criterion{.name = "l1",
                                       .summary = "sum of the block's absolute weights",
                                       .score = score_blocks<Absolute>,
                                       .area_power = 1};

}  // namespace espalier
