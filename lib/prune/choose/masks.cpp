#include "lib/prune/choose/masks.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "lib/base/error.h"
#include "lib/prune/options/layer_settings.h"
#include "lib/sparse/mask_dense.h"

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

void check_mask(const std::string& name, const Tensor& mask, const Shape& shape) {
  if (mask.dtype() != DType::kBool) {
    throw Error(Fault::kFormat, fmt::format("mask {} is of type {}, expected bool", printable(name),
                                            name_of(mask.dtype())));
  }
  if (mask.shape() != shape) {
    throw Error(Fault::kFormat,
                fmt::format("mask {} has shape {}, its weight has {}", printable(name),
                            to_string(mask.shape()), to_string(shape)));
  }
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

// Masks that no layer took: of a weight that is there and stays whole, or an error.
void check_other_mask(const Model& model, const std::string& name, const Tensor& mask) {
  const Weight* weight = nullptr;
  for_each_graph(model.graph, [&](const Graph& graph, const std::string& prefix) {
    for (const auto& [value, w] : graph.weights) {
      if (prefix + graph.values[value].name == name) weight = &w;
    }
  });
  if (weight == nullptr)
    throw Error(Fault::kFormat,
                fmt::format("mask {}: the model has no such weight", printable(name)));
  check_mask(name, mask, weight->shape());
  if (!all_kept(mask)) {
    throw Error(
        Fault::kUnsupported,
        fmt::format("mask {}: no operator multiplies by this weight as a matrix", printable(name)));
  }
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

PrunePlan plan_from_masks(const Model& model, const PruneOptions& options,
                          const std::map<std::string, Tensor>& masks) {
  SelectOptions select = all_prunable();
  const std::vector<Layer> possible = select_layers(model, select);
  select.operators = options.select.operators;
  select.exclude = options.select.exclude;
  const std::vector<Layer> layers = select_layers(model, select);  // the same ones
  const std::vector<LayerSettings> settings = layer_settings(layers, options);
  PrunePlan plan{options, {}};
  std::map<std::string, Tensor> others = masks;
  for (size_t i = 0; i < layers.size(); ++i) {
    LayerPlan& layer = plan.layers.emplace_back();
    layer.layer = layers[i];
    layer.block = settings[i].block;
    const auto mask = masks.find(layers[i].weight);
    others.erase(layers[i].weight);
    if (mask != masks.end()) check_mask(mask->first, mask->second, layers[i].shape);
    std::string& left_out = layer.layer.left_out;
    if (mask == masks.end()) {
      if (left_out.empty()) left_out = "has no mask";
    } else if (!left_out.empty()) {
      if (possible[i].left_out.empty() || all_kept(mask->second)) continue;
      throw Error(Fault::kUnsupported, fmt::format("mask {}: the weight cannot be pruned: {}",
                                                   printable(mask->first), printable(left_out)));
    } else if (!settings[i].skipped_by.empty()) {
      left_out = left_out_reason(layers[i], settings[i]);
    } else {
      fill_from_mask(mask->second, settings[i], options.keep_diagonal, layer);
    }
  }
  for (const auto& [name, mask] : others) check_other_mask(model, name, mask);
  return plan;
}

std::map<std::string, Tensor> masks_of(const PrunePlan& plan) {
  std::map<std::string, Tensor> masks;
  for (const LayerPlan& layer : plan.layers) {
    if (!layer.layer.left_out.empty()) continue;
    const auto make = [shape = layer.layer.shape, fold = layer.layer.fold, mask = layer.mask,
                       diagonal = layer.diagonal] {
      ThreadPool pool(1);
      return mask_dense(ones(shape), fold, mask, diagonal, pool);
    };
    masks[layer.layer.weight] = of_weight(layer.layer.shape, make);
  }
  return masks;
}

std::map<std::string, Tensor> masks_of_zeros(const Model& model, const SelectOptions& options) {
  std::map<std::string, Tensor> masks;
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
    masks[layer.weight] = of_weight(layer.shape, make);
  }
  return masks;
}

PrunePlan retarget(const PrunePlan& plan, const Model& other) {
  const std::vector<Layer> layers = select_layers(other, all_prunable());
  PrunePlan result = plan;
  for (LayerPlan& target : result.layers) {
    if (!target.layer.left_out.empty()) continue;
    const std::string& name = target.layer.weight;
    const auto found = std::ranges::find(layers, name, &Layer::weight);
    const auto refuse = [&](const std::string& why) {
      throw Error(Fault::kFormat, fmt::format("weight {}: {}", printable(name), why));
    };
    if (found == layers.end()) refuse("the model has no such prunable weight");
    if (found->shape != target.layer.shape) {
      refuse(fmt::format("has shape {}, in the pruned model {}", to_string(found->shape),
                         to_string(target.layer.shape)));
    }
    if (!found->left_out.empty()) refuse("cannot be pruned: " + printable(found->left_out));
    if (found->fold != target.layer.fold)
      refuse("is multiplied as another matrix than in the pruned model");
    target.layer = *found;
  }
  return result;
}

}  // namespace espalier
