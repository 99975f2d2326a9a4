// Weights as variables, packed ones as their parts and a decode, or as part of a product.
#include <fmt/format.h>

#include <algorithm>

#include "formats/nnef/write/context.h"
#include "formats/nnef/write/packed.h"
#include "formats/nnef/write/strips.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/sparse/pack.h"
#include "lib/sparse/pack_rules.h"

namespace espalier::nnef {
namespace {

const Weight& weight_of(const WriteState& state, ValueId value) {
  const Weight* weight = find_weight(state.model.graph, value);
  ESPALIER_CHECK(weight != nullptr);
  return *weight;
}

// With an index of two f32 for each block, where a bitmap made it smaller than the dense weight.
bool is_too_large(const WriteState& state, const SparseMatrix& matrix) {
  return state.options.profile == "portable" && takes_bitmap(matrix) &&
         !is_smaller_with(matrix, 2 * sizeof(float));
}

bool is_packed(const WriteState& state, const Weight& weight) {
  return weight.is_sparse() && state.options.profile != "dense" &&
         weight.sparse().fold.count() != 0 && has_decoded_shape(weight.sparse()) &&
         !is_too_large(state, weight.sparse());
}

// With outputs in front, whatever its own shape.
bool is_flipped(const WriteState& state, const Weight& weight) {
  return is_packed(state, weight) && weight.sparse().fold.transposed &&
         state.options.index != "mask";
}

// As stored: a variable, or the decode that may be flipped.
Wire write_weight(WriteState& state, ValueId value) {
  const Weight& weight = weight_of(state, value);
  const std::string& name = state.model.graph.values[value].name;
  const WeightWriter w{state, state.ids[value]};
  try {
    if (is_packed(state, weight)) {
      return state.options.index == "mask" ? write_masked(w, name, weight.sparse())
                                           : write_packed(w, name, weight.sparse());
    }
    if (weight.is_sparse() && is_too_large(state, weight.sparse())) {
      warn(
          fmt::format("{}: {} blocks with the index of profile portable take more bytes than the "
                      "dense weight: stored dense",
                      printable(name), weight.sparse().blocks()));
    }
    return w.variable(state.ids[value], state.names.label(name), weight.dtype(), weight.shape(),
                      [&weight] { return dense_of(weight); });
  } catch (Error& error) {
    error.add_context(fmt::format("weight '{}'", printable(name)));
    throw;
  }
}

Decode product_with(Decode decode, bool has_bias) {
  if (decode == Decode::parts) return Decode::matmul_parts;
  if (decode == Decode::ragged) return has_bias ? Decode::linear_ragged : Decode::matmul_ragged;
  return has_bias ? Decode::linear : Decode::matmul;
}

}  // namespace

// Writes the blocks once per weight and rank, then the invocation of block_sparse_matmul or its
// variants.
std::optional<std::string> sparse_product(WriteState& state, ValueId value, bool outputs_first,
                                          const Wire& input,
                                          const std::function<std::string()>& bias) {
  const Weight* weight = find_weight(state.model.graph, value);
  if (state.options.profile != "operator" || weight == nullptr || !is_packed(state, *weight)) {
    return std::nullopt;
  }
  const SparseMatrix& matrix = weight->sparse();
  const size_t rank = input.extents->size();
  const bool plain =
      !matrix.has_diagonal() && matrix.dtype == DType::kF32 && input.dtype == DType::kF32 &&
      matrix.values.dtype() != DType::kI8 && matrix.shape.size() >= 2 &&
      matrix.shape.size() <= rank && is_folded_whole(matrix, kGridIndex) &&
      (!takes_bitmap(matrix) || is_smaller_with(matrix, index_bytes(matrix.fold, matrix.block)));
  if (!plain || outputs_first == matrix.fold.transposed) return std::nullopt;
  const std::string& name = state.model.graph.values[value].name;
  try {
    Shape shape = decoded_shape(matrix);
    shape.insert(shape.begin(), rank - shape.size(), 1);
    auto found = state.products.find({value, rank});
    if (found == state.products.end()) {
      const WeightWriter w{state, state.ids[value]};
      found = state.products
                  .emplace(std::pair(value, rank), write_blocks(w, state.names.packed_label(name),
                                                                matrix, entire(matrix), shape))
                  .first;
    }
    const DecodeArguments& blocks = found->second;
    const Decode kind = product_with(blocks.kind, bias != nullptr);
    WeightWriter{state, state.ids[value]}.use(kind);
    return fmt::format("{}({}, {}, {}{}, {}, shape = {})", decode_fragment(kind).name, input.id,
                       blocks.values, blocks.index, bias ? ", " + bias() : "", blocks.attributes,
                       list(shape));
  } catch (Error& error) {
    error.add_context(fmt::format("weight '{}'", printable(name)));
    throw;
  }
}

MatrixWire matrix_wire(WriteState& state, ValueId value) {
  const Weight& weight = weight_of(state, value);
  if (!is_flipped(state, weight)) return {weight_wire(state, value), false};
  const auto found = state.flipped.find(value);
  if (found != state.flipped.end()) return {found->second, true};
  return {state.flipped[value] = write_weight(state, value), true};
}

Wire weight_wire(WriteState& state, ValueId value) {
  if (const auto found = state.wires.find(value); found != state.wires.end()) return found->second;
  const Weight& weight = weight_of(state, value);
  Wire wire;
  if (is_flipped(state, weight)) {
    wire = matrix_wire(state, value).wire;
    std::vector<int64_t> axes;
    for (size_t i = 0; i < wire.extents->size(); ++i) axes.push_back(static_cast<int64_t>(i));
    std::swap(axes[axes.size() - 2], axes[axes.size() - 1]);
    wire = state.text.transpose(wire, axes, state.ids[value]);
  } else {
    wire = write_weight(state, value);
  }
  return state.wires[value] = wire;
}

}  // namespace espalier::nnef
