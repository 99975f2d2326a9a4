#include "lib/prune/pack/near_zeros.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "lib/base/error.h"
#include "lib/base/name_list.h"

namespace espalier {
namespace {

float largest_magnitude(std::span<const float> values) {
  float largest = 0;
  for (const float value : values) {
    if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
  }
  return largest;
}

float limit_of(std::span<const float> values, double share) {
  return static_cast<float>(share * largest_magnitude(values));
}

// The tensor with zeros for what is at most `share` of its largest; nullopt where nothing changes.
std::optional<Tensor> zeroed(const Tensor& dense, double share) {
  std::vector<float> values = to_f32(dense);
  const float limit = limit_of(values, share);
  bool any = false;
  for (float& value : values) {
    if (value == 0 || !(std::abs(value) <= limit)) continue;
    value = 0;
    any = true;
  }
  if (!any) return std::nullopt;
  return from_f32(values, dense.dtype(), dense.shape());
}

bool is_dense_float(const Weight& weight) {
  return !weight.is_sparse() && is_float(weight.dtype()) && weight.dtype() != DType::kF64;
}

}  // namespace

bool looks_pruned(const Weight& weight) {
  if (!is_dense_float(weight)) return false;
  const Tensor widened = as_f32(weight.dense());  // an aligned f32 weight itself
  const std::span<const float> values = widened.data<float>();
  const float limit = limit_of(values, kNearZero);
  const auto count = static_cast<double>(values.size());
  const auto is_near = [&](float value) { return std::abs(value) <= limit; };
  const auto near = static_cast<double>(std::ranges::count_if(values, is_near));
  const auto zeros = static_cast<double>(std::ranges::count(values, 0.0F));
  return near >= kNearZeroShare * count && near - zeros >= 0.01 * count && limit > 0;
}

Model with_zeros_below(const Model& model, const std::vector<Layer>& layers, double share) {
  std::vector<std::optional<std::variant<Tensor, SparseMatrix>>> weights(layers.size());
  for (size_t i = 0; i < layers.size(); ++i) {
    const Weight* weight = stored_weight(model, layers[i]);
    if (weight == nullptr || !is_dense_float(*weight)) continue;
    if (auto tensor = zeroed(weight->dense(), share)) weights[i] = std::move(*tensor);
  }
  return with_weights(model, layers, std::move(weights));
}

std::string near_zero_note(const Model& model, const std::vector<Layer>& layers) {
  std::vector<std::string> names;
  for (const Layer& layer : layers) {
    const Weight* weight = stored_weight(model, layer);
    if (weight == nullptr) continue;
    if (looks_pruned(*weight)) names.push_back(layer.weight);
    if (!weight->is_sparse()) weight->give_back();
  }
  if (names.empty()) return {};
  return fmt::format(
      "at least 90 % of the elements are below a millionth of the largest, but not zero: {}; "
      "`convert --zero-below 1e-6` makes them zeros and packs the rest, and so does `prune "
      "--sparsity 0.9`",
      name_list(names));
}

}  // namespace espalier
