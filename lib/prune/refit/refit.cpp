#include "lib/prune/refit/refit.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "lib/base/log.h"
#include "lib/prune/refit/apply_plan.h"
#include "lib/prune/refit/refit_rows.h"
#include "lib/prune/score/layer_moments.h"
#include "lib/prune/score/spd.h"
#include "lib/sparse/pack.h"

namespace espalier {
namespace {

using Eigen::Index;
using Eigen::MatrixXd;

// Refits one layer, one row group at a time.
class LayerRefit {
 public:
  LayerRefit(const LayerPlan& plan, const LayerMoments& moments, const std::vector<float>& dense,
             const std::optional<LayerBias>& bias, ThreadPool& pool)
      : plan_(plan),
        fold_(plan.layer.fold),
        moments_(moments),
        dense_(dense),
        values(dense),
        shifts(bias ? fold_.parts * fold_.rows : 0, 0.0) {
    for (const MomentGroup& group : moments.groups)
      inverses_.push_back(inverse_pays(group) ? spd_inverse(group.h, pool) : std::nullopt);
  }

  size_t groups() const { return fold_.parts * plan_.mask.grid_rows(); }

  // Refits row group `index` (a block row, whose rows share a mask): dropped weights become 0, kept
  // ones of rows that are finite the solution; also the change of each row's mean output.
  void group(size_t index) {
    const size_t part = index / plan_.mask.grid_rows(), block_row = index % plan_.mask.grid_rows();
    const size_t first = block_row * plan_.block.rows;
    const size_t last = std::min<size_t>(first + plan_.block.rows, fold_.rows);
    std::vector<bool> kept(fold_.cols);
    for (size_t c = 0; c < fold_.cols; ++c) kept[c] = plan_.mask.at(part, first, c);
    const MatrixXd before = load(part, first, last);
    const std::vector<size_t> rows = finite_rows(before);
    MatrixXd solid(static_cast<Index>(last - first), before.cols());
    solid.setZero();
    for (const size_t r : rows)
      solid.row(static_cast<Index>(r)) = before.row(static_cast<Index>(r));
    const MomentGroup& moments = moments_.of_part(part);
    const MatrixXd wanted = wanted_weights(solid, moments);
    const auto& inverse = inverses_[static_cast<size_t>(&moments - moments_.groups.data())];
    const auto after =
        refit_rows(wanted, moments.h, kept, plan_.diagonal, first, inverse ? &*inverse : nullptr);
    rows_kept += last - first - (after ? rows.size() : 0);
    for (size_t r = first; r < last; ++r) {
      const auto row = static_cast<Index>(r - first);
      const bool finite = std::ranges::count(rows, r - first) != 0;
      const bool changed = after && finite;
      for (size_t c = 0; c < fold_.cols; ++c) {
        const bool stays = kept[c] || (plan_.diagonal && r == c);
        float& value = values[fold_.offset(part, r, c)];
        if (!stays) {
          value = 0;
        } else if (changed) {
          value = static_cast<float>((*after)(row, static_cast<Index>(c)));
        }
      }
      if (finite && !shifts.empty()) {  // needs no factorisation
        shifts[part * fold_.rows + r] = solid.row(row).dot(moments.original_mean) -
                                        load(part, r, r + 1, values).row(0).dot(moments.mean);
      }
    }
  }

 private:
  MatrixXd load(size_t part, size_t first, size_t last) const {
    return load(part, first, last, dense_);
  }
  MatrixXd load(size_t part, size_t first, size_t last, const std::vector<float>& from) const {
    MatrixXd result(static_cast<Index>(last - first), static_cast<Index>(fold_.cols));
    for (size_t r = first; r < last; ++r) {
      for (size_t c = 0; c < fold_.cols; ++c)
        result(static_cast<Index>(r - first), static_cast<Index>(c)) =
            from[fold_.offset(part, r, c)];
    }
    return result;
  }
  // One inverse serves all row groups where it is cheaper than factorising what they keep.
  bool inverse_pays(const MomentGroup& group) const {
    if (plan_.diagonal) return false;
    const size_t rows = plan_.mask.grid_rows();
    double saved = 0;
    for (size_t i = group.first_part * rows; i < (group.first_part + group.parts) * rows; ++i) {
      double stay = 0;
      for (size_t c = 0; c < fold_.cols; ++c)
        stay += plan_.mask.at(i / rows, i % rows * plan_.block.rows, c) ? 1 : 0;
      const double gone = static_cast<double>(fold_.cols) - stay;
      saved += std::max(0.0, std::pow(stay, 3) - std::pow(gone, 3)) / 3;
    }
    return saved > std::pow(static_cast<double>(fold_.cols), 3);
  }
  static std::vector<size_t> finite_rows(const MatrixXd& weights) {
    std::vector<size_t> rows;
    for (Index r = 0; r < weights.rows(); ++r) {
      if (weights.row(r).allFinite()) rows.push_back(static_cast<size_t>(r));
    }
    return rows;
  }

  const LayerPlan& plan_;
  Fold fold_;
  const LayerMoments& moments_;
  const std::vector<float>& dense_;
  std::vector<std::optional<MatrixXd>> inverses_;  // per group of moments, where it pays

 public:
  std::vector<float> values;   // refitted, in the weight's own order
  std::vector<double> shifts;  // of each output's bias; empty: there is none
  std::atomic<size_t> rows_kept = 0;
};

// `bias` with the layer's own numbers replaced by those of the unchanged model, shifted.
Tensor shifted(const Tensor& bias, const Tensor& unchanged, const LayerBias& place, size_t rows,
               const std::vector<double>& shifts) {
  std::vector<float> values = to_f32(bias);
  const std::vector<float> from = to_f32(unchanged);
  for (size_t i = 0; i < shifts.size(); ++i) {
    const size_t at = place.first[i / rows] + i % rows;
    values[at] = static_cast<float>(from[at] + place.scale * shifts[i]);
  }
  return from_f32(values, bias.dtype(), bias.shape());
}

Layer bias_layer(const LayerBias& place) {
  Layer layer;
  layer.prefix = place.prefix;
  layer.value = place.value;
  return layer;
}

}  // namespace

void refit_layer(const Model& model, const LayerPlan& plan, size_t index,
                 const Statistics& statistics, const std::optional<LayerBias>& bias,
                 Refitted& result, ThreadPool& pool) {
  const auto moments = layer_moments(model, plan.layer, statistics, bias.has_value());
  if (!moments) return;
  const Weight& weight = weight_of(model, plan.layer);
  const Tensor dense = dense_of(weight);
  const std::vector<float> values = to_f32(dense);
  weight.give_back();
  LayerRefit work(plan, *moments, values, bias, pool);
  {
    Progress progress("refit", work.groups());
    pool.for_each(work.groups(), [&](size_t group) {
      work.group(group);
      progress.step();
    });
  }
  result.rows_kept += work.rows_kept;
  result.refitted[index] = true;
  std::vector<std::optional<std::variant<Tensor, SparseMatrix>>> one(1);
  one[0] = from_f32(work.values, dense.dtype(), dense.shape());
  result.model = with_weights(std::move(result.model), {plan.layer}, std::move(one));
  if (!bias) return;
  const Layer place = bias_layer(*bias);
  const Tensor& unchanged = weight_of(model, place).dense();
  const size_t rows = plan.layer.fold.rows;
  // W and R of a recurrent layer have their own halves of one tensor.
  one.assign(1,
             shifted(weight_of(result.model, place).dense(), unchanged, *bias, rows, work.shifts));
  result.model = with_weights(std::move(result.model), {place}, std::move(one));
  result.biases[index] =
      RefittedBias{*bias, shifted(unchanged, unchanged, *bias, rows, work.shifts)};
}

// Factorisations of what a row group keeps, or of what it drops beside one inverse for all.
std::vector<double> refit_costs(const std::vector<Layer>& layers, double sparsity) {
  constexpr double kRows = 16;  // of a group
  std::vector<double> costs;
  for (const Layer& layer : layers) {
    const double cols = static_cast<double>(layer.fold.cols);
    const double groups = std::ceil(static_cast<double>(layer.fold.rows) / kRows) *
                          static_cast<double>(layer.fold.parts);
    const double keeping = groups * std::pow((1 - sparsity) * cols, 3) / 3;
    const double dropping = groups * std::pow(sparsity * cols, 3) / 3 + std::pow(cols, 3);
    const double changing = groups * sparsity * (1 - sparsity) * cols * cols * kRows;
    costs.push_back(layer.left_out.empty() ? std::min(keeping, dropping) + changing : 0);
  }
  return costs;
}

Refitted refit(const Model& model, const PrunePlan& plan, const Statistics& statistics,
               ThreadPool& pool) {
  Refitted result{apply_plan(model, plan, pool), {}, {}};
  std::vector<Layer> layers;
  for (const LayerPlan& layer : plan.layers) layers.push_back(layer.layer);
  const auto biases = layer_biases(model, layers);
  result.biases.resize(layers.size());
  result.refitted.resize(layers.size());
  Progress progress("refit", refit_costs(layers, plan.options.sparsity));
  for (size_t i = 0; i < layers.size(); ++i, progress.step()) {
    if (layers[i].left_out.empty())
      refit_layer(model, plan.layers[i], i, statistics, biases[i], result, pool);
  }
  return result;
}

}  // namespace espalier
