#include <cmath>
#include <limits>

#include "lib/base/checked_math.h"
#include "lib/prune/score/criterion.h"
#include "lib/prune/score/layer_moments.h"

namespace espalier {
namespace {

/// Sum over the block of w^2 E[x^2], x about its mean where the bias makes up for that.
/// Source  arXiv:2306.11695, equation 1, squared and summed over the block.
void score(const ScoreContext& context, size_t first, size_t last, std::span<float> scores) {
  const Fold& fold = context.weight.fold;
  const BlockShape block = context.block;
  const size_t grid_rows = ceil_div(fold.rows, block.rows);
  const size_t grid_cols = ceil_div(fold.cols, block.cols);
  for (size_t row = first; row < last; ++row) {
    const size_t part = row / grid_rows, r0 = row % grid_rows * block.rows;
    const size_t r1 = std::min<size_t>(r0 + block.rows, fold.rows);
    const Eigen::VectorXd& power = context.moments->of_part(part).power;
    for (size_t col = 0; col < grid_cols; ++col) {
      double sum = 0;
      const size_t c1 = std::min<size_t>((col + 1) * block.cols, fold.cols);
      for (size_t c = col * block.cols; c < c1; ++c) {
        for (size_t r = r0; r < r1; ++r) {
          if (context.skip_diagonal && r == c) continue;
          const double w = context.weight.at(part, r, c);
          sum += w * w * power(static_cast<Eigen::Index>(c));
        }
      }
      scores[row * grid_cols + col] =
          std::isnan(sum) ? std::numeric_limits<float>::infinity() : static_cast<float>(sum);
    }
  }
}

}  // namespace

constinit const Criterion wanda_criterion{.name = "wanda",
                                          .summary = "squared weights times squared inputs",
                                          .score = score,
                                          .area_power = 1,
                                          .needs_moments = true};

}  // namespace espalier
