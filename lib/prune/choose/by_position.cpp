#include "lib/prune/choose/by_position.h"

namespace espalier {
namespace {

using Eigen::Index;

Eigen::MatrixXd moved(const Eigen::MatrixXd& given, const std::vector<Index>& from) {
  return given.size() == 0 ? given : Eigen::MatrixXd(given(from, from));
}

Eigen::VectorXd moved(const Eigen::VectorXd& given, const std::vector<Index>& from) {
  return given.size() == 0 ? given : Eigen::VectorXd(given(from));
}

}  // namespace

std::vector<float> ByPosition::weights(std::span<const float> given, const Fold& fold) const {
  std::vector<float> result(given.size());
  for (size_t row = 0; row < fold.parts * fold.rows; ++row) {
    for (size_t c = 0; c < fold.cols; ++c)
      result[row * fold.cols + c] = given[row * fold.cols + column_of(c)];
  }
  return result;
}

LayerMoments ByPosition::moments(const LayerMoments& given) const {
  std::vector<Index> from(channels * positions);
  for (size_t c = 0; c < from.size(); ++c) from[c] = static_cast<Index>(column_of(c));
  LayerMoments result;
  for (const MomentGroup& group : given.groups) {
    result.groups.push_back({group.first_part, group.parts, group.samples, moved(group.h, from),
                             moved(group.mean, from), moved(group.power, from),
                             moved(group.target, from), moved(group.original_mean, from)});
  }
  return result;
}

std::vector<float> ByPosition::scores_back(std::span<const float> moved, const Fold& fold) const {
  std::vector<float> result(moved.size());
  for (size_t row = 0; row < fold.parts * fold.rows; ++row) {
    for (size_t c = 0; c < fold.cols; ++c)
      result[row * fold.cols + column_of(c)] = moved[row * fold.cols + c];
  }
  return result;
}

}  // namespace espalier
