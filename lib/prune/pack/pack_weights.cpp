#include "lib/prune/pack/pack_weights.h"

#include <algorithm>
#include <array>

#include "lib/base/error.h"
#include "lib/ir/deferred_weights.h"
#include "lib/prune/pack/tables.h"
#include "lib/sparse/element_bits.h"
#include "lib/sparse/mask_dense.h"
#include "lib/sparse/pack.h"
#include "lib/sparse/pack_rules.h"

namespace espalier {
namespace {

using Stored = std::variant<Tensor, SparseMatrix>;

DType values_type(std::string_view values, DType own) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kI8}) {
    if (values == name_of(dtype)) return dtype;
  }
  return own;
}

// Whether all elements of a block are zeros of either sign, diagonal ones kept apart left aside.
template <typename T>
bool is_zero_block(const Tensor& dense, const Fold& fold, BlockShape block, bool diagonal,
                   size_t part, size_t block_row, size_t block_col) {
  const size_t r0 = block_row * block.rows, c0 = block_col * block.cols;
  const size_t r1 = std::min<size_t>(r0 + block.rows, fold.rows);
  const size_t c1 = std::min<size_t>(c0 + block.cols, fold.cols);
  for (size_t r = r0; r < r1; ++r) {
    for (size_t c = c0; c < c1; ++c) {
      if (diagonal && r == c) continue;
      if (!is_zero(load_bits<T>(dense.bytes().data(), fold.offset(part, r, c)))) return false;
    }
  }
  return true;
}

// `mask` without the kept blocks that hold only zeros. Most blocks are told by their first element.
template <typename T>
BlockMask without_zero_blocks(const Tensor& dense, const LayerPlan& plan, ThreadPool& pool) {
  BlockMask mask = plan.mask;
  constexpr size_t kTogether = size_t{1} << 14;  // bits: whole words, which threads do not share
  pool.for_each(ceil_div(mask.blocks(), kTogether), [&](size_t task) {
    const size_t first = task * kTogether, last = std::min(first + kTogether, mask.blocks());
    const size_t rows = mask.grid_rows(), cols = mask.grid_cols();
    size_t part = first / cols / rows, row = first / cols % rows, col = first % cols;
    for (size_t i = first; i < last; ++i) {
      if (mask.kept[i] && is_zero_block<T>(dense, plan.layer.fold, mask.block, plan.diagonal, part,
                                           row, col))
        mask.kept[i] = false;
      if (++col < cols) continue;
      col = 0;
      if (++row < rows) continue;
      row = 0;
      ++part;
    }
  });
  return mask;
}

size_t bytes_when_packed(const Fold& fold, const BlockMask& mask, bool diagonal, DType weight,
                         DType values) {
  const bool scaled = values == DType::kI8;
  const size_t kept = mask.kept_blocks();
  const size_t apart = (diagonal ? bytes_of(scaled ? weight : values) : 0) +
                       (scaled ? sizeof(float) : 0);  // of one output
  return kept * mask.block.area() * bytes_of(values) +
         index_bytes({fold, mask.block, kept, values, weight}) + fold.parts * fold.rows * apart;
}

// A layer that is left out has no mask: all of it is packed.
LayerPlan with_mask(const LayerPlan& plan) {
  LayerPlan result = plan;
  if (!plan.layer.left_out.empty()) result.mask = BlockMask(plan.block, plan.layer.fold, true);
  return result;
}

Stored pack_or_mask(const Weight& weight, const LayerPlan& plan, DType values, ThreadPool& pool) {
  const Tensor dense = dense_or_deferred(weight, pool.threads());
  const BlockMask mask = with_bits_of(
      dense.dtype(), [&]<typename T>(T) { return without_zero_blocks<T>(dense.held(), plan, pool); });
  const Fold& fold = plan.layer.fold;
  if (bytes_when_packed(fold, mask, plan.diagonal, dense.dtype(), values) >= dense.byte_size())
    return masked_or_deferred(weight, fold, plan.mask, plan.diagonal, pool);
  // i8 values that were not refitted keep their scales, and so their bits.
  if (values == DType::kI8 && weight.is_sparse() && weight.sparse().values.dtype() == values &&
      weight.sparse().fold == fold && weight.sparse().has_diagonal() == plan.diagonal) {
    return with_values_like(packed_or_deferred(dense, fold, mask, plan.diagonal, pool),
                            weight.sparse());
  }
  return rounded_or_deferred(packed_or_deferred(dense, fold, mask, plan.diagonal, pool), values);
}

std::optional<SparseMatrix> smaller(std::optional<SparseMatrix> a, std::optional<SparseMatrix> b) {
  if (!a || !b) return a ? std::move(a) : std::move(b);
  return packed_bytes(*b) < packed_bytes(*a) ? std::move(b) : std::move(a);
}

// In blocks of that shape, with the diagonal apart where that saves bytes and values of the type
// that `packed` has; nothing where the dense weight is smaller.
std::optional<SparseMatrix> pack_in(const Tensor& dense, const Layer& layer, BlockShape block,
                                    const SparseMatrix* packed, ThreadPool& pool) {
  const DType values = packed ? packed->values.dtype() : dense.dtype();
  const auto pack = [&](bool diagonal) -> std::optional<SparseMatrix> {
    const BlockMask mask = nonzero_blocks(dense, layer.fold, block, diagonal);
    if (bytes_when_packed(layer.fold, mask, diagonal, dense.dtype(), values) >= dense.byte_size())
      return std::nullopt;
    SparseMatrix result = packed_or_deferred(dense, layer.fold, mask, diagonal, pool);
    return packed ? with_values_like(result, *packed) : std::move(result);
  };
  // The diagonal is no multiple of i8's scale.
  if (values == DType::kI8) return pack(packed->has_diagonal());
  auto result = pack(false);
  return layer.square ? smaller(std::move(result), pack(true)) : std::move(result);
}

std::optional<Stored> pack_losslessly(const Weight& weight, const Layer& layer,
                                      std::optional<BlockShape> block, ThreadPool& pool) {
  const SparseMatrix* packed = weight.is_sparse() ? &weight.sparse() : nullptr;
  if (packed && (!block || packed->block == *block)) return std::nullopt;
  // Scales are of the outputs that the matrix was packed by.
  if (packed && packed->values.dtype() == DType::kI8 && packed->fold != layer.fold)
    return std::nullopt;
  if (!block) {
    const Tensor& dense = weight.dense();
    auto smallest = pack_smallest(dense.held(), layer.fold);
    // What decodes it in a file takes more than such a gain.
    constexpr size_t kLeastGain = 64;
    if (!smallest || packed_bytes(*smallest) > dense.byte_size() - dense.byte_size() / kLeastGain)
      return std::nullopt;
    if (dense.byte_size() < kWorthDeferring) return std::optional<Stored>(std::move(*smallest));
    const BlockMask mask =
        nonzero_blocks(dense.held(), layer.fold, smallest->block, smallest->has_diagonal());
    return packed_or_deferred(dense, layer.fold, mask, smallest->has_diagonal(), pool);
  }
  Tensor dense = packed ? decoded_or_deferred(*packed, pool.threads()) : weight.dense();
  auto result = pack_in(dense, layer, *block, packed, pool);
  dense.give_back();
  return result ? Stored(std::move(*result)) : Stored(std::move(dense));
}

}  // namespace

WholePacking smallest_whole(const Fold& fold, DType weight, DType values) {
  constexpr std::array<BlockShape, 9> kBlocks{
      {{16, 4}, {8, 4}, {4, 8}, {4, 4}, {16, 1}, {8, 1}, {1, 8}, {4, 1}, {1, 4}}};
  WholePacking best{{1, 1}, UINT64_MAX};
  for (const BlockShape block : kBlocks) {
    const uint64_t bytes = whole_bytes(fold, block, false, weight, values);
    if (bytes < best.bytes) best = {block, bytes};
  }
  return best;
}

uint64_t whole_bytes(const Fold& fold, BlockShape block, bool diagonal, DType weight,
                     DType values) {
  return bytes_when_packed(fold, BlockMask(block, fold, true), diagonal, weight, values);
}

Model pack_weights(const Model& model, const PrunePlan& plan, ThreadPool& pool) {
  std::vector<const LayerPlan*> plans;
  for (const LayerPlan& layer : plan.layers) {
    if (layer.layer.left_out.empty() || !layer.values.empty()) plans.push_back(&layer);
  }
  std::vector<Layer> layers;
  for (const LayerPlan* layer : plans) layers.push_back(layer->layer);
  std::vector<const Weight*> from;
  for (const Layer& layer : layers) from.push_back(&weight_of(model, layer));
  std::vector<std::optional<Stored>> weights(plans.size());
  const auto pack = [&](size_t i) {
    try {
      const std::string& values = plans[i]->values.empty() ? plan.options.values : plans[i]->values;
      weights[i] = pack_or_mask(*from[i], with_mask(*plans[i]),
                                values_type(values, plans[i]->layer.dtype), pool);
    } catch (Error& error) {
      error.add_context(printable(plans[i]->layer.weight));
      throw;
    }
  };
  for_each_weight(from, pack, pool);
  std::vector<Layer> all;
  for (const LayerPlan& one : plan.layers) all.push_back(one.layer);
  return with_narrow_tables(with_weights(model, layers, std::move(weights)), all,
                            plan.options.values, pool);
}

Model pack_existing(const Model& model, std::optional<BlockShape> block, ThreadPool& pool) {
  SelectOptions everything;
  everything.min_weights = 1;
  everything.depthwise = true;
  everything.force = {""};
  std::vector<Layer> layers = select_layers(model, everything);
  std::erase_if(layers, [](const Layer& layer) { return !layer.left_out.empty(); });
  std::vector<const Weight*> from;
  for (const Layer& layer : layers) from.push_back(&weight_of(model, layer));
  std::vector<std::optional<Stored>> weights(layers.size());
  const auto pack = [&](size_t i) {
    weights[i] = pack_losslessly(*from[i], layers[i], block, pool);
  };
  for_each_weight(from, pack, pool);
  return with_weights(model, layers, std::move(weights));
}

Model with_packed_values(const Model& model, std::string_view values) {
  const auto round_all = [&](Graph& graph, const std::string& prefix) {
    for (auto& [value, weight] : graph.weights) {
      if (!weight.is_sparse()) continue;
      const SparseMatrix& packed = weight.sparse();
      try {
        weight.value = rounded_or_deferred(packed, values_type(values, packed.values.dtype()));
      } catch (Error& error) {
        error.add_context(printable(prefix + graph.values[value].name));
        throw;
      }
    }
  };
  if (values.empty()) return model;
  Model result = model;
  result.graph = transformed(std::move(result.graph), round_all);
  return result;
}

Model decode_weights(const Model& model) {
  const auto decode_all = [](Graph& graph, const std::string&) {
    for (auto& [value, weight] : graph.weights) {
      if (weight.is_sparse()) weight.value = decoded_or_deferred(weight.sparse(), 0);
    }
  };
  Model result = model;
  result.graph = transformed(std::move(result.graph), decode_all);
  return result;
}

}  // namespace espalier
