#include "lib/prune/score/layer_moments.h"

#include <Eigen/Cholesky>
#include <algorithm>

#include "lib/prune/score/spd.h"
#include "lib/prune/score/statistics_fit.h"
#include "lib/tensor/made_once.h"

namespace espalier {
namespace {

using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// C + d I times (H + d I)^-1, C being the cross moment.
void add_target(const InputMoments& input, bool centred, double damping, MomentGroup& group) {
  const auto side = static_cast<Eigen::Index>(input.mean.count());
  const Eigen::Map<const RowMajor> cross(input.cross.data<double>().data(), side, side);
  const Eigen::Map<const Eigen::VectorXd> mean(input.original_mean.data<double>().data(), side);
  Eigen::MatrixXd wanted = cross;
  if (centred) {
    group.original_mean = mean;
    wanted.noalias() -= mean * group.mean.transpose();
  }
  wanted.diagonal().array() += damping;
  const Eigen::LLT<Eigen::MatrixXd> factor(group.h);
  if (factor.info() != Eigen::Success) return;
  const Eigen::MatrixXd target = factor.solve(wanted.transpose()).transpose();
  if (target.allFinite()) group.target = target;
}

// Second moments as the criteria and the refit take them: about the mean where `centred`, damped by
// more where there are few samples, the identity for an input that is constant.
MomentGroup group_of(const InputMoments& input, bool centred) {
  const auto side = static_cast<Eigen::Index>(input.mean.count());
  const Tensor held = made_once(input.second);
  const Eigen::Map<const RowMajor> second(held.data<double>().data(), side, side);
  const Eigen::Map<const Eigen::VectorXd> mean(input.mean.data<double>().data(), side);
  MomentGroup group{input.first_part, input.parts, input.samples, second, mean, {}, {}, mean};
  if (centred) {
    group.h.noalias() -= mean * mean.transpose();
  } else {
    group.mean.setZero();
    group.original_mean.setZero();
  }
  // Rounding may leave the variance of a constant input below zero.
  group.power = group.h.diagonal().cwiseMax(0);
  const double average = group.power.mean();
  constexpr double kRounding = 1e-10;  // of the difference of moments and squared means
  if (!(average > kRounding * second.diagonal().mean())) {
    group.power.setZero();
    group.h.setIdentity();
    return group;
  }
  const double scarcity = static_cast<double>(side) / static_cast<double>(group.samples);
  const double damping = kDamping * (1 + scarcity) * average;
  group.h.diagonal() = group.power.array() + damping;
  if (input.cross.count() != 0) add_target(input, centred, damping, group);
  return group;
}

}  // namespace

const MomentGroup& LayerMoments::of_part(size_t part) const {
  const auto found = std::ranges::find_if(groups, [part](const MomentGroup& group) {
    return part >= group.first_part && part < group.first_part + group.parts;
  });
  ESPALIER_CHECK(found != groups.end());
  return *found;
}

std::optional<LayerMoments> layer_moments(const Model& model, const Layer& layer,
                                          const Statistics& statistics, bool centred) {
  const LayerStatistics* found = statistics.find(layer.weight);
  if (found == nullptr) return std::nullopt;
  check_fit(model, layer, *found);
  for (size_t part = 0; part < layer.fold.parts; ++part) {
    const InputMoments* input = found->of_part(part);
    if (input == nullptr || input->samples == 0) return std::nullopt;
  }
  LayerMoments moments;
  for (const InputMoments& input : found->inputs)
    moments.groups.push_back(group_of(input, centred));
  return moments;
}

Eigen::MatrixXd wanted_weights(const Eigen::MatrixXd& weights, const MomentGroup& group) {
  return group.target.size() == 0 ? weights : Eigen::MatrixXd(weights * group.target);
}

Eigen::MatrixXd inverse_of(const MomentGroup& group, ThreadPool& pool) {
  Eigen::MatrixXd h = group.h;
  const double step = std::max(h.diagonal().mean(), 1e-300);
  for (double damping = kDamping;; damping *= 10) {
    if (auto inverse = spd_inverse(h, pool)) return *std::move(inverse);
    h.diagonal().array() += damping * step;  // by and by the diagonal outweighs all else
  }
}

}  // namespace espalier
