#include <cmath>
#include <limits>

#include "lib/prune/score/criteria/over_blocks.h"

namespace espalier {
namespace {

/// Root of the sum of w^2 over the block; the order is that of LPCNet's sum of squares
/// (arXiv:1810.11846). Squares of f32 neither overflow nor vanish in f64.
struct Squares {
  using Number = double;
  static void add(double& sum, float element) {
    const double value = element;
    sum += value * value;
  }
  static void join(double& sum, double column) { sum += column; }
  static float finish(double sum) {
    return std::isnan(sum) ? std::numeric_limits<float>::infinity()
                           : static_cast<float>(std::sqrt(sum));
  }
};

}  // namespace

constinit const Criterion l2_criterion{.name = "l2",
                                       .summary = "root of the block's sum of squares",
                                       .score = score_blocks<Squares>,
                                       .area_power = 0.5};

}  // namespace espalier
