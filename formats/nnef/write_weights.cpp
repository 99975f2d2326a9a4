// Weights as variables, and packed ones as their parts and a decode.
#include <fmt/format.h>

#include <algorithm>

#include "formats/nnef/document.h"
#include "formats/nnef/write_context.h"
#include "formats/nnef/write_dat.h"
#include "lib/base/error.h"
#include "lib/sparse/pack.h"

namespace espalier::nnef {
namespace {

// One weight being written: its name, its identifier, and where variables go.
struct WeightWriter {
  WriteState& state;
  const std::string& id;

  // `ID = variable<T>(...)` of a tensor that `make` gives when the file is written.
  Wire variable(std::string name, std::string label, DType dtype, const Shape& shape,
                std::function<Tensor()> make) const {
    const std::string line = fmt::format("variable<{}>(shape = {}, label = {})", nnef_type(dtype),
                                         list(shape), nnef::quoted(label));
    static_cast<void>(dat_header(dtype, shape));  // a size that does not fit is an error here
    state.variables[name] = {std::move(label), std::move(make)};
    state.variable_order.push_back(name);
    return state.text.assign(std::move(name), line, Extents(shape.begin(), shape.end()), dtype);
  }
  Wire part(std::string_view suffix, const std::string& label, DType dtype, const Shape& shape,
            std::function<Tensor()> make) const {
    return variable(state.names.identifier(fmt::format("{}_{}", id, suffix)),
                    fmt::format("{}/{}", label, suffix), dtype, shape, std::move(make));
  }
  void use(Decode kind) const {
    if (std::ranges::find(state.decodes, kind) == state.decodes.end()) {
      state.decodes.push_back(kind);
    }
  }
};

template <typename T>
Tensor narrowed(const std::vector<uint64_t>& values, const Shape& shape) {
  Tensor result = Tensor::zeros(dtype_of<T>(), shape);
  std::ranges::transform(values, result.template mutable_data<T>().begin(),
                         [](uint64_t value) { return static_cast<T>(value); });
  return result;
}

DType index_type(uint64_t largest) { return largest <= UINT16_MAX ? DType::kU16 : DType::kU32; }

Tensor integers(const std::vector<uint64_t>& values, DType dtype, const Shape& shape) {
  return dtype == DType::kU16 ? narrowed<uint16_t>(values, shape)
                              : narrowed<uint32_t>(values, shape);
}

// Calls visit(stacked block row, block column) for each block, in order.
template <typename Visit>
void for_each_block(const SparseMatrix& matrix, const Visit& visit) {
  for (size_t row = 0; row + 1 < matrix.row_start.size(); ++row) {
    for (size_t b = matrix.row_start[row]; b < matrix.row_start[row + 1]; ++b) {
      visit(row, matrix.col[b]);
    }
  }
}

Tensor grid_index(const SparseMatrix& matrix, DType dtype) {
  std::vector<uint64_t> pairs;
  pairs.reserve(2 * matrix.blocks());
  for_each_block(matrix, [&](size_t row, size_t col) {
    pairs.push_back(row);
    pairs.push_back(col);
  });
  return integers(pairs, dtype, {static_cast<int64_t>(matrix.blocks()), 2});
}

Tensor first_elements(const SparseMatrix& matrix, DType dtype) {
  std::vector<uint64_t> places;
  places.reserve(matrix.blocks());
  for_each_block(matrix, [&](size_t row, size_t col) {
    places.push_back((uint64_t{row} * matrix.block.rows) * matrix.fold.cols +
                     uint64_t{col} * matrix.block.cols);
  });
  return integers(places, dtype, {static_cast<int64_t>(matrix.blocks())});
}

Tensor element_offsets(const SparseMatrix& matrix, DType dtype) {
  std::vector<uint64_t> offsets;
  for (uint64_t r = 0; r < matrix.block.rows; ++r) {
    for (uint64_t c = 0; c < matrix.block.cols; ++c) offsets.push_back(r * matrix.fold.cols + c);
  }
  return integers(offsets, dtype, {matrix.block.rows, matrix.block.cols});
}

bool is_ragged(const SparseMatrix& matrix) {
  return matrix.fold.rows % matrix.block.rows != 0 || matrix.fold.cols % matrix.block.cols != 0;
}

// The weight's shape with outputs before inputs.
Shape decoded_shape(const SparseMatrix& matrix) {
  Shape shape = matrix.shape;
  if (!matrix.fold.transposed) return shape;
  const size_t rank = shape.size();
  if (rank < 2 || shape[rank - 2] != static_cast<int64_t>(matrix.fold.cols) ||
      shape[rank - 1] != static_cast<int64_t>(matrix.fold.rows)) {
    throw Error(Fault::kUnsupported, "it folds in a way that NNEF cannot spell");
  }
  std::swap(shape[rank - 2], shape[rank - 1]);
  return shape;
}

std::string decode_call(const SparseMatrix& matrix, Decode kind, std::string_view parts,
                        const Shape& shape) {
  const auto name = decode_fragment(kind).name;
  const size_t rows = matrix.grid_rows(), cols = matrix.grid_cols();
  const auto [br, bc] = matrix.block;
  const auto grid = fmt::format("[{}, {}, {}, {}]", matrix.fold.parts * rows, cols, br, bc);
  switch (kind) {
    case Decode::ragged:
      return fmt::format("{}({}, grid = {}, padded = [{}, {}], shape = {})", name, parts, grid,
                         rows * br, cols * bc, list(shape));
    case Decode::parts:
      return fmt::format("{}({}, grid = {}, padded = [{}, {}, {}], keep = [{}, {}], shape = {})",
                         name, parts, grid, matrix.fold.parts, rows * br, cols * bc,
                         matrix.fold.rows, matrix.fold.cols, list(shape));
    case Decode::first: {
      const size_t count = matrix.blocks() * matrix.block.area();
      return fmt::format("{}({}, count = [{}], places = [{}, 1], size = [{}], shape = {})", name,
                         parts, count, count, matrix.fold.count(), list(shape));
    }
    default:
      return fmt::format("{}({}, grid = {}, shape = {})", name, parts, grid, list(shape));
  }
}

Wire write_index(const WeightWriter& w, const std::string& label, const SparseMatrix& matrix) {
  const size_t rows = matrix.fold.parts * matrix.grid_rows();
  const DType dtype = index_type(std::max(rows, matrix.grid_cols()) - 1);
  return w.part("index", label, dtype, {static_cast<int64_t>(matrix.blocks()), 2},
                [&matrix, dtype] { return grid_index(matrix, dtype); });
}

// index and offsets of the first-element variant: "i, o".
std::string write_first_index(const WeightWriter& w, const std::string& label,
                              const SparseMatrix& matrix) {
  const DType dtype = index_type(matrix.fold.count() - 1);
  const Wire index = w.part("index", label, dtype, {static_cast<int64_t>(matrix.blocks())},
                            [&matrix, dtype] { return first_elements(matrix, dtype); });
  const Wire offsets = w.part("offsets", label, dtype, {matrix.block.rows, matrix.block.cols},
                              [&matrix, dtype] { return element_offsets(matrix, dtype); });
  return fmt::format("{}, {}", index.id, offsets.id);
}

Wire add_diagonal(const WeightWriter& w, const std::string& label, const SparseMatrix& matrix,
                  const Wire& blocks, const Shape& shape) {
  const Tensor& diagonal = matrix.diagonal;
  const Wire values =
      w.part("diag", label, diagonal.dtype(), {static_cast<int64_t>(diagonal.count())}, [&matrix] {
        return matrix.diagonal.reshaped({static_cast<int64_t>(matrix.diagonal.count())});
      });
  w.use(Decode::diagonal);
  const size_t n = matrix.fold.rows, parts = matrix.fold.parts;
  std::string source = values.id;
  if (diagonal.dtype() != DType::kF32)
    source = fmt::format("tract_core_cast({}, to = 'f32')", source);
  const Wire square = w.state.text.assign(
      w.state.names.identifier(w.id + "_diagonal"),
      fmt::format("{}({}, column = [{}, {}, 1], padding = [(0, 0), (0, 0), (0, {})], flat = [{}, "
                  "{}], keep = [{}], shape = {})",
                  decode_fragment(Decode::diagonal).name, source, parts, n, n, parts, n * (n + 1),
                  n * n, list(shape)),
      blocks.extents, DType::kF32);
  return w.state.text.assign(w.state.names.identifier(w.id + "_whole"),
                             fmt::format("add({}, {})", blocks.id, square.id), blocks.extents,
                             DType::kF32);
}

// The packed weight as [..., outputs, inputs].
Wire write_packed(const WeightWriter& w, std::string_view name, const SparseMatrix& matrix) {
  const std::string label = w.state.names.packed_label(name);
  const Shape shape = decoded_shape(matrix);
  const Wire values = w.part("values", label, matrix.values.dtype(), matrix.values.shape(),
                             [&matrix] { return matrix.values; });
  // A block that sticks out has no place for its further elements in the flat weight.
  const bool first = w.state.options.index == "first-element" && !is_ragged(matrix);
  Decode kind = Decode::grid;
  std::string parts;
  if (first) {
    kind = Decode::first;
    std::string source = values.id;
    if (values.dtype != DType::kF32)
      source = fmt::format("tract_core_cast({}, to = 'f32')", source);
    parts = fmt::format("{}, {}", source, write_first_index(w, label, matrix));
  } else {
    if (is_ragged(matrix)) {
      kind = matrix.fold.parts == 1 && shape.size() == 2 ? Decode::ragged : Decode::parts;
    }
    parts = fmt::format("{}, {}", values.id, write_index(w, label, matrix).id);
  }
  w.use(kind);
  Wire result = w.state.text.assign(w.state.names.identifier(w.id + "_decoded"),
                                    decode_call(matrix, kind, parts, shape),
                                    Extents(shape.begin(), shape.end()), DType::kF32);
  if (matrix.has_diagonal()) result = add_diagonal(w, label, matrix, result, shape);
  if (matrix.dtype != DType::kF32) {
    result = w.state.text.assign(
        w.state.names.identifier(w.id + "_cast"),
        fmt::format("tract_core_cast({}, to = '{}')", result.id, name_of(matrix.dtype)),
        result.extents, matrix.dtype);
  }
  return result;
}

const Weight& weight_of(const WriteState& state, ValueId value) {
  const Weight* weight = find_weight(state.model.graph, value);
  ESPALIER_CHECK(weight != nullptr);
  return *weight;
}

bool is_packed(const WriteState& state, const Weight& weight) {
  return weight.is_sparse() && state.options.profile != "dense";
}

// As stored: a variable, or the decode that may be flipped.
Wire write_weight(WriteState& state, ValueId value) {
  const Weight& weight = weight_of(state, value);
  const std::string& name = state.model.graph.values[value].name;
  const WeightWriter w{state, state.ids[value]};
  try {
    if (is_packed(state, weight)) return write_packed(w, name, weight.sparse());
    return w.variable(
        state.ids[value], state.names.label(name), weight.dtype(), weight.shape(),
        [&weight] { return weight.is_sparse() ? decode(weight.sparse()) : weight.dense(); });
  } catch (Error& error) {
    error.add_context(fmt::format("weight '{}'", printable(name)));
    throw;
  }
}

}  // namespace

MatrixWire matrix_wire(WriteState& state, ValueId value) {
  const Weight& weight = weight_of(state, value);
  if (!is_packed(state, weight) || !weight.sparse().fold.transposed) {
    return {weight_wire(state, value), false};
  }
  const auto found = state.flipped.find(value);
  if (found != state.flipped.end()) return {found->second, true};
  return {state.flipped[value] = write_weight(state, value), true};
}

Wire weight_wire(WriteState& state, ValueId value) {
  if (const auto found = state.wires.find(value); found != state.wires.end()) return found->second;
  const Weight& weight = weight_of(state, value);
  Wire wire;
  if (is_packed(state, weight) && weight.sparse().fold.transposed) {
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
