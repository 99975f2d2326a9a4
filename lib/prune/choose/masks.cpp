#include "lib/prune/choose/masks.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "lib/base/error.h"
#include "lib/base/name_list.h"
#include "lib/base/nearest_name.h"
#include "lib/ir/named_weights.h"
#include "lib/ir/paired_names.h"
#include "lib/prune/options/layer_settings.h"
#include "lib/sparse/mask_dense.h"
#include "lib/tensor/layout.h"

namespace espalier {
namespace {

Tensor ones(const Shape& shape) {
  Tensor result = Tensor::zeros(DType::kBool, shape);
  std::ranges::fill(result.mutable_bytes(), std::byte{1});
  return result;
}

// A mask that is made when it is looked at, where it is large: masks of a model take a byte for each
// of its weights.
template <typename Make>
Tensor of_weight(const Shape& shape, const Make& make) {
  constexpr size_t kWorthDeferring = size_t{1} << 20;
  if (element_count(shape) < kWorthDeferring) return make();
  return Tensor::deferred(DType::kBool, shape, make);
}

bool all_kept(const Tensor& mask) {
  return std::ranges::none_of(mask.bytes(), [](std::byte b) { return b == std::byte{0}; });
}

bool diagonals_kept(const Tensor& mask, const Fold& fold) {
  for (size_t i = 0; i < fold.parts * fold.rows; ++i) {
    if (mask.bytes()[fold.offset(i / fold.rows, i % fold.rows, i % fold.rows)] == std::byte{0})
      return false;
  }
  return true;
}

// Whether a block is kept, dropped or neither whole; a diagonal kept apart is not looked at.
enum class Found { kNothing, kKept, kDropped, kBoth };

Found look_at_block(const Tensor& mask, const Fold& fold, BlockShape block, bool diagonal,
                    size_t part, size_t block_row, size_t block_col) {
  const size_t r0 = block_row * block.rows, c0 = block_col * block.cols;
  const size_t r1 = std::min<size_t>(r0 + block.rows, fold.rows);
  const size_t c1 = std::min<size_t>(c0 + block.cols, fold.cols);
  Found found = Found::kNothing;
  for (size_t r = r0; r < r1; ++r) {
    for (size_t c = c0; c < c1; ++c) {
      if (diagonal && r == c) continue;
      const bool kept = mask.bytes()[fold.offset(part, r, c)] != std::byte{0};
      const Found here = kept ? Found::kKept : Found::kDropped;
      if (found != Found::kNothing && found != here) return Found::kBoth;
      found = here;
    }
  }
  return found;
}

// The mask in blocks of that shape, nothing where it keeps parts of blocks.
std::optional<BlockMask> in_blocks(const Tensor& mask, const Fold& fold, BlockShape block,
                                   bool diagonal) {
  BlockMask result(block, fold, false);
  size_t index = 0;
  for (size_t part = 0; part < fold.parts; ++part) {
    for (size_t row = 0; row < result.grid_rows(); ++row) {
      for (size_t col = 0; col < result.grid_cols(); ++col, ++index) {
        const Found found = look_at_block(mask, fold, block, diagonal, part, row, col);
        if (found == Found::kBoth) return std::nullopt;
        result.kept[index] = found == Found::kKept;
      }
    }
  }
  return result;
}

BlockMask in_largest_blocks(const Tensor& mask, const Fold& fold, BlockShape first, bool diagonal) {
  constexpr auto kUsual = std::to_array<BlockShape>(
      {{16, 4}, {8, 4}, {4, 8}, {16, 1}, {4, 4}, {8, 1}, {1, 8}, {4, 1}, {1, 4}});
  if (auto result = in_blocks(mask, fold, first, diagonal)) return std::move(*result);
  for (const BlockShape block : kUsual) {
    if (auto result = in_blocks(mask, fold, block, diagonal)) return std::move(*result);
  }
  return std::move(*in_blocks(mask, fold, {1, 1}, diagonal));
}

// The mask in the weight's shape, with outputs where the weight has them.
Tensor fitted(const std::string& name, const Mask& mask, const Shape& shape,
              std::optional<size_t> outputs) {
  if (mask.kept.dtype() != DType::kBool) {
    throw Error(Fault::kFormat, fmt::format("mask {} is of type {}, expected bool", printable(name),
                                            name_of(mask.kept.dtype())));
  }
  if (auto result = laid_out(mask.kept, mask.outputs_axis, shape, outputs))
    return std::move(*result);
  const bool has_axis = mask.outputs_axis && outputs;
  const auto axis = [&](std::optional<size_t> of) {
    return has_axis ? fmt::format(" with outputs along axis {}", *of) : "";
  };
  throw Error(Fault::kFormat,
              fmt::format("mask {} has shape {}{}, its weight has {}{}", printable(name),
                          to_string(mask.kept.shape()), axis(mask.outputs_axis), to_string(shape),
                          axis(outputs)));
}

Tensor fitted(const std::string& name, const Mask& mask, const Layer& layer) {
  const bool folds = layer.fold.count() > 0;
  return fitted(name, mask, layer.shape,
                folds ? std::optional(outputs_axis(layer.shape, layer.fold)) : std::nullopt);
}

void fill_from_mask(const Tensor& given, const LayerSettings& settings, bool keep_diagonal,
                    LayerPlan& plan) {
  const Tensor mask = given.held();
  given.give_back();
  const Fold& fold = plan.layer.fold;
  plan.diagonal = keep_diagonal && plan.layer.square && diagonals_kept(mask, fold);
  plan.mask = in_largest_blocks(mask, fold, settings.block, plan.diagonal);
  plan.block = plan.mask.block;
  plan.method = "mask";
  const auto dropped = static_cast<size_t>(std::ranges::count(mask.bytes(), std::byte{0}));
  const size_t diagonal = plan.diagonal ? fold.parts * fold.rows : 0;
  if (fold.count() > diagonal)
    plan.sparsity = static_cast<double>(dropped) / static_cast<double>(fold.count() - diagonal);
}

// "; it has: a, b, c and 5 more", the weights that can be pruned first.
std::string names_there_are(const std::vector<Layer>& layers) {
  std::vector<std::string> names;
  for (const Layer& layer : layers) names.push_back(layer.weight);
  if (layers.empty()) return "; it has none that an operator multiplies by";
  return "; it has: " + name_list(names, 20, 200);
}

// A mask that no layer took: of a weight that is there and stays whole, or an error.
void check_other_mask(const std::string& name, const Mask& mask, const Weight* weight,
                      const std::vector<Layer>& layers) {
  if (weight == nullptr) {
    std::vector<std::string> names;
    for (const Layer& layer : layers) names.push_back(layer.weight);
    throw Error(Fault::kFormat,
                fmt::format("mask {}: the model has no such weight{}{}", printable(name),
                            did_you_mean(name, names), names_there_are(layers)));
  }
  if (!all_kept(fitted(name, mask, weight->shape(), {}))) {
    throw Error(
        Fault::kUnsupported,
        fmt::format("mask {}: no operator multiplies by this weight as a matrix", printable(name)));
  }
}

using MaskOfWeight = std::map<std::string, const Masks::value_type*>;

// Finds for each weight its mask; those of weights that are no layers are checked.
MaskOfWeight masks_by_weight(const Model& model, const std::vector<Layer>& layers,
                             const Masks& masks) {
  std::vector<std::string> weights, names;
  std::vector<const Weight*> others(layers.size(), nullptr);
  for (const Layer& layer : layers) weights.push_back(layer.weight);
  const std::set<std::string> of_layers(weights.begin(), weights.end());
  for (const auto& [name, weight] : named_weights(model)) {
    if (of_layers.contains(name)) continue;
    weights.push_back(name);
    others.push_back(weight);
  }
  for (const auto& [name, mask] : masks) names.push_back(name);
  const auto partners = paired_names(names, weights);
  MaskOfWeight result;
  for (size_t i = 0; const auto& entry : masks) {
    const std::optional<size_t> weight = partners[i++];
    if (weight && *weight < layers.size()) {
      result[weights[*weight]] = &entry;
    } else {
      check_other_mask(entry.first, entry.second, weight ? others[*weight] : nullptr, layers);
    }
  }
  return result;
}

// What size, name, kind or place leave out is selected by having a mask.
SelectOptions all_prunable() {
  SelectOptions result;
  result.min_weights = 0;
  result.depthwise = true;
  result.force = {""};
  return result;
}

}  // namespace

PrunePlan plan_from_masks(const Model& model, const PruneOptions& options, const Masks& masks) {
  SelectOptions select = all_prunable();
  const std::vector<Layer> possible = select_layers(model, select);
  select.operators = options.select.operators;
  select.exclude = options.select.exclude;
  const std::vector<Layer> layers = select_layers(model, select);  // the same ones
  const std::vector<LayerSettings> settings = layer_settings(layers, options);
  PrunePlan plan{options, {}};
  const MaskOfWeight by_weight = masks_by_weight(model, layers, masks);
  for (size_t i = 0; i < layers.size(); ++i) {
    LayerPlan& layer = plan.layers.emplace_back();
    layer.layer = layers[i];
    layer.block = settings[i].block;
    const auto found = by_weight.find(layers[i].weight);
    std::string& left_out = layer.layer.left_out;
    if (found == by_weight.end()) {
      if (left_out.empty()) left_out = "has no mask";
      continue;
    }
    const auto& [name, given] = *found->second;
    const Tensor mask = fitted(name, given, layers[i]);
    if (!left_out.empty()) {
      if (possible[i].left_out.empty() || all_kept(mask)) continue;
      throw Error(Fault::kUnsupported, fmt::format("mask {}: the weight cannot be pruned: {}",
                                                   printable(name), printable(left_out)));
    }
    if (!settings[i].skipped_by.empty()) {
      left_out = left_out_reason(layers[i], settings[i]);
    } else {
      fill_from_mask(mask, settings[i], options.keep_diagonal, layer);
    }
  }
  return plan;
}

Masks masks_of(const PrunePlan& plan) {
  Masks masks;
  for (const LayerPlan& layer : plan.layers) {
    if (!layer.layer.left_out.empty()) continue;
    const auto make = [shape = layer.layer.shape, fold = layer.layer.fold, mask = layer.mask,
                       diagonal = layer.diagonal] {
      ThreadPool pool(1);
      return mask_dense(ones(shape), fold, mask, diagonal, pool);
    };
    masks[layer.layer.weight] = {of_weight(layer.layer.shape, make),
                                 outputs_axis(layer.layer.shape, layer.layer.fold)};
  }
  return masks;
}

Masks masks_of_zeros(const Model& model, const SelectOptions& options) {
  Masks masks;
  for (const Layer& layer : select_layers(model, options)) {
    if (!layer.left_out.empty()) continue;
    const auto make = [weight = weight_of(model, layer), shape = layer.shape] {
      const std::vector<float> values = to_f32(dense_of(weight));
      weight.give_back();
      Tensor mask = Tensor::zeros(DType::kBool, shape);
      const auto kept = mask.mutable_data<uint8_t>();
      for (size_t i = 0; i < values.size(); ++i) kept[i] = values[i] != 0 ? 1 : 0;
      return mask;
    };
    masks[layer.weight] = {of_weight(layer.shape, make), outputs_axis(layer.shape, layer.fold)};
  }
  return masks;
}

PrunePlan retarget(const PrunePlan& plan, const Model& other) {
  const std::vector<Layer> layers = select_layers(other, all_prunable());
  PrunePlan result = plan;
  std::vector<std::string> pruned, theirs;
  for (const LayerPlan& target : plan.layers) {
    if (target.layer.left_out.empty()) pruned.push_back(target.layer.weight);
  }
  for (const Layer& layer : layers) theirs.push_back(layer.weight);
  const auto partners = paired_names(pruned, theirs);
  size_t next = 0;
  for (LayerPlan& target : result.layers) {
    if (!target.layer.left_out.empty()) continue;
    const std::optional<size_t> partner = partners[next++];
    const auto refuse = [&](const std::string& why) {
      throw Error(Fault::kFormat,
                  fmt::format("weight {}: {}", printable(target.layer.weight), why));
    };
    if (!partner) refuse("the model has no such prunable weight" + names_there_are(layers));
    const Layer& found = layers[*partner];
    Fold fold = found.fold;
    fold.transposed = target.layer.fold.transposed;
    if (fold != target.layer.fold && found.shape != target.layer.shape) {
      refuse(fmt::format("has shape {}, in the pruned model {}", to_string(found.shape),
                         to_string(target.layer.shape)));
    }
    if (!found.left_out.empty()) refuse("cannot be pruned: " + printable(found.left_out));
    if (fold != target.layer.fold)
      refuse("is multiplied as another matrix than in the pruned model");
    target.layer = found;
  }
  return result;
}

}  // namespace espalier
