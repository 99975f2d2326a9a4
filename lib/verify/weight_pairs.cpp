#include "lib/verify/weight_pairs.h"

#include <map>
#include <string>

#include "lib/ir/named_weights.h"
#include "lib/ir/paired_names.h"
#include "lib/prune/select/weight_readers.h"
#include "lib/tensor/layout.h"

namespace espalier {
namespace {

using NamedWeights = std::vector<std::pair<std::string, const Weight*>>;

std::vector<std::string> names_of(const NamedWeights& weights) {
  std::vector<std::string> names;
  for (const auto& [name, weight] : weights) names.push_back(name);
  return names;
}

std::optional<size_t> axis_of(const std::map<const Weight*, size_t>& axes, const Weight* weight) {
  const auto found = axes.find(weight);
  return found == axes.end() ? std::nullopt : std::optional(found->second);
}

Shape without_ones(Shape shape) {
  std::erase(shape, 1);
  return shape;
}

}  // namespace

// By the first operator that multiplies by it.
std::map<const Weight*, size_t> outputs_axes(const Model& model) {
  std::map<const Weight*, size_t> axes;
  for (const WeightUse& use : weight_uses(model.graph)) {
    for (const WeightReading& reading : use.readings) {
      if (use.weight == nullptr || !reading.fold) continue;
      axes.emplace(use.weight, outputs_axis(use.weight->shape(), *reading.fold));
    }
  }
  return axes;
}

// Weights with their partners and the axes of their outputs, then what is in one model alone.
WeightPairs pair_weights(const Model& a, const Model& b, bool literals) {
  const auto may_be_alone = [&](const Weight& weight) {
    return !literals && (!is_float(weight.dtype()) || element_count(weight.shape()) <= 1);
  };
  WeightPairs result;
  const NamedWeights in_a = named_weights(a), in_b = named_weights(b);
  const auto partners = paired_names(names_of(in_a), names_of(in_b));
  const auto axes_a = outputs_axes(a), axes_b = outputs_axes(b);
  const bool other_format = a.origin.format != b.origin.format;
  std::vector<bool> taken(in_b.size(), false);
  for (size_t i = 0; i < in_a.size(); ++i) {
    const auto& [name, weight] = in_a[i];
    if (!partners[i]) {
      if (!may_be_alone(*weight)) result.only_a.push_back(in_a[i]);
      continue;
    }
    taken[*partners[i]] = true;
    const Weight* partner = in_b[*partners[i]].second;
    result.pairs.push_back(
        {name, weight, partner, axis_of(axes_a, weight), axis_of(axes_b, partner), other_format});
  }
  for (size_t i = 0; i < in_b.size(); ++i) {
    if (!taken[i] && !may_be_alone(*in_b[i].second)) result.only_b.push_back(in_b[i]);
  }
  return result;
}

std::optional<Tensor> as_in_a(const WeightPairs::Pair& pair) {
  const bool known = pair.outputs_a && pair.outputs_b;
  const Tensor b = dense_of(*pair.b);
  if (known) return laid_out(b, pair.outputs_b, pair.a->shape(), pair.outputs_a);
  if (pair.other_format) return laid_out(b, {}, pair.a->shape(), {});
  if (without_ones(b.shape()) != without_ones(pair.a->shape())) return std::nullopt;
  return b.reshaped(pair.a->shape());
}

bool is_turned(const Shape& a, const Shape& b) { return a.size() == 2 && b == Shape{a[1], a[0]}; }

}  // namespace espalier
