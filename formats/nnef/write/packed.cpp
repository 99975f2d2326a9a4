// Packed weights as their parts and a decode.
#include "formats/nnef/write/packed.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/nnef/language/document.h"
#include "formats/nnef/write/dat.h"
#include "formats/nnef/write/strips.h"
#include "lib/base/error.h"
#include "lib/sparse/pack.h"
#include "lib/sparse/pack_rules.h"

namespace espalier::nnef {
namespace {

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

Tensor grid_index(const SparseMatrix& matrix, const Strip& strip, DType dtype) {
  std::vector<uint64_t> pairs;
  for_each_block(matrix, strip, [&](size_t, size_t row, size_t col) {
    pairs.push_back(row);
    pairs.push_back(col);
  });
  return integers(pairs, dtype, {static_cast<int64_t>(pairs.size() / 2), 2});
}

// Elements in a row of a strip without ragged edge.
size_t row_elements(const SparseMatrix& matrix, const Strip& strip) {
  return strip.cols() * matrix.block.cols;
}

Tensor first_elements(const SparseMatrix& matrix, const Strip& strip, DType dtype) {
  std::vector<uint64_t> places;
  const uint64_t width = row_elements(matrix, strip);
  for_each_block(matrix, strip, [&](size_t, size_t row, size_t col) {
    places.push_back(uint64_t{row} * matrix.block.rows * width + uint64_t{col} * matrix.block.cols);
  });
  return integers(places, dtype, {static_cast<int64_t>(places.size())});
}

Tensor element_offsets(const SparseMatrix& matrix, const Strip& strip, DType dtype) {
  std::vector<uint64_t> offsets;
  const uint64_t width = row_elements(matrix, strip);
  for (uint64_t r = 0; r < matrix.block.rows; ++r) {
    for (uint64_t c = 0; c < matrix.block.cols; ++c) offsets.push_back(r * width + c);
  }
  return integers(offsets, dtype, {matrix.block.rows, matrix.block.cols});
}

Wire write_index(const WeightWriter& w, const std::string& label, const SparseMatrix& matrix,
                 const Strip& strip) {
  const DType dtype = index_type(std::max(strip.rows(), strip.cols()) - 1);
  return w.part("index", label, dtype, {static_cast<int64_t>(blocks_of(matrix, strip)), 2},
                [&matrix, strip, dtype] {
                  return index_made(matrix, strip, grid_index(matrix, strip, dtype));
                });
}

// As f32 where the profile has tract's cast; elsewhere arithmetic with f32 widens what is narrower.
std::string as_f32_text(const WeightWriter& w, const Wire& wire) {
  return wire.dtype == DType::kF32 || w.is_plain()
             ? wire.id
             : fmt::format("tract_core_cast({}, to = 'f32')", wire.id);
}

// The decode of the first-element variant.
Wire write_first(const WeightWriter& w, const std::string& label, const SparseMatrix& matrix,
                 const Strip& strip, const Shape& shape) {
  const Wire values = write_values(w, label, matrix, strip);
  const size_t blocks = blocks_of(matrix, strip);
  const size_t elements = element_count(shape);
  const DType dtype = index_type(elements - 1);
  const Wire index =
      w.part("index", label, dtype, {static_cast<int64_t>(blocks)}, [&matrix, strip, dtype] {
        return index_made(matrix, strip, first_elements(matrix, strip, dtype));
      });
  const Wire offsets =
      w.part("offsets", label, dtype, {matrix.block.rows, matrix.block.cols},
             [&matrix, strip, dtype] { return element_offsets(matrix, strip, dtype); });
  const size_t count = blocks * matrix.block.area();
  w.use(Decode::first);
  return w.step(
      "decoded",
      fmt::format("{}({}, {}, {}, count = [{}], places = [{}, 1], size = [{}], shape = {})",
                  decode_fragment(Decode::first).name, as_f32_text(w, values), index.id, offsets.id,
                  count, count, elements, list(shape)),
      shape);
}

Wire write_grid(const WeightWriter& w, const std::string& label, const SparseMatrix& matrix,
                const Strip& strip, const Shape& shape) {
  const DecodeArguments blocks = write_blocks(w, label, matrix, strip, shape);
  w.use(blocks.kind);
  return w.step("decoded",
                fmt::format("{}({}, {}, {}, shape = {})", decode_fragment(blocks.kind).name,
                            blocks.values, blocks.index, blocks.attributes, list(shape)),
                shape);
}

// A strip without blocks has no values to pick from.
Wire write_bits(const WeightWriter& w, const std::string& label, const SparseMatrix& matrix,
                const Strip& strip, const Shape& shape) {
  return blocks_of(matrix, strip) == 0 ? write_grid(w, label, matrix, strip, shape)
                                       : write_bitmap(w, label, matrix, strip, shape);
}

bool is_bitmap(const WriteOptions& options, const SparseMatrix& matrix) {
  return matrix.block.area() <= 64 &&
         (options.index == "bitmap" || (options.index.empty() && takes_bitmap(matrix)));
}

// One decode, or one for each strip where a reader would not fold that.
Wire write_decode(const WeightWriter& w, const std::string& label, const SparseMatrix& matrix,
                  const Shape& shape) {
  // A block that sticks out has no place for its further elements in the flat weight.
  const bool first = w.state.options.index == "first-element" && !is_ragged(matrix);
  const bool bitmap = !first && is_bitmap(w.state.options, matrix);
  const auto write = bitmap ? write_bits : first ? write_first : write_grid;
  const IndexCost first_index{sizeof(int64_t) * matrix.block.area(), 0};
  const IndexCost cost = bitmap ? kBitmapIndex : first ? first_index : kGridIndex;
  if (w.state.options.profile == "opaque" || is_folded_whole(matrix, cost)) {
    return write(w, label, matrix, entire(matrix), shape);
  }
  return write_strips(w, label, matrix, shape, folded_strips(matrix, cost),
                      [&](const std::string& name, const Strip& strip) {
                        return write(w, name, matrix, strip, inside(matrix, strip));
                      });
}

// The extents that count outputs, then ones: as long as `shape`.
Shape scale_shape(const SparseMatrix& matrix, const Shape& shape) {
  const size_t outputs = matrix.fold.parts * matrix.fold.rows;
  Shape result(shape.size(), 1);
  size_t covered = 1;
  for (size_t axis = 0; axis < shape.size() && covered != outputs; ++axis) {
    result[axis] = shape[axis];
    covered *= static_cast<size_t>(shape[axis]);
  }
  if (covered != outputs) {
    throw Error(Fault::kUnsupported, "its scale is folded in a way that NNEF cannot express");
  }
  return result;
}

// blocks * scale, one factor for each output.
Wire scale_rows(const WeightWriter& w, const std::string& label, const SparseMatrix& matrix,
                const Wire& blocks, const Shape& shape) {
  const Shape extents = scale_shape(matrix, shape);
  const Wire scale = w.part("scale", label, DType::kF32, extents,
                            [&matrix, extents] { return matrix.scale.reshaped(extents); });
  return w.step("scaled", fmt::format("mul({}, {})", blocks.id, scale.id), shape);
}

// The diagonals of all parts in one fragment.
Wire write_diagonal(const WeightWriter& w, const std::string& label, const SparseMatrix& matrix,
                    const Shape& shape) {
  const Tensor& diagonal = matrix.diagonal;
  const Wire values =
      w.part("diag", label, diagonal.dtype(), {static_cast<int64_t>(diagonal.count())}, [&matrix] {
        return matrix.diagonal.reshaped({static_cast<int64_t>(matrix.diagonal.count())});
      });
  w.use(Decode::diagonal);
  const size_t n = matrix.fold.rows, parts = matrix.fold.parts;
  return w.step(
      "diagonal",
      fmt::format("{}({}, column = [{}, {}, 1], padding = [(0, 0), (0, 0), (0, {})], flat = [{}, "
                  "{}], keep = [{}], shape = {})",
                  decode_fragment(Decode::diagonal).name, as_f32_text(w, values), parts, n, n,
                  parts, n * (n + 1), n * n, list(shape)),
      shape);
}

// Rows begin to end of the stacked parts, all of one part.
Wire write_diagonal_strip(const WeightWriter& w, const std::string& label,
                          const SparseMatrix& matrix, size_t begin, size_t end) {
  const size_t n = matrix.fold.rows, rows = end - begin, first = begin % n;
  const Shape extents{static_cast<int64_t>(rows)};
  const Wire values =
      w.part("diag", label, matrix.diagonal.dtype(), extents, [&matrix, begin, extents] {
        Tensor piece = Tensor::zeros(matrix.diagonal.dtype(), extents);
        const size_t width = bytes_of(piece.dtype());
        std::ranges::copy(matrix.diagonal.bytes().subspan(begin * width, piece.bytes().size()),
                          piece.mutable_bytes().begin());
        return piece;
      });
  w.use(Decode::diagonal_strip);
  const Shape shape{static_cast<int64_t>(rows), static_cast<int64_t>(n)};
  return w.step("diagonal",
                fmt::format("{}({}, column = [{}, 1], padding = [(0, 0), (0, {})], line = [{}], "
                            "shift = [({}, 0)], keep = [{}], shape = {})",
                            decode_fragment(Decode::diagonal_strip).name, as_f32_text(w, values),
                            rows, n, rows * (n + 1), first, rows * n, list(shape)),
                shape);
}

// As write_diagonal, in strips that are folded.
Wire write_diagonal_strips(const WeightWriter& w, const std::string& label,
                           const SparseMatrix& matrix, const Shape& shape) {
  const size_t n = matrix.fold.rows, parts = matrix.fold.parts;
  const size_t most = std::max<size_t>(1, (kFoldedItems - n) / (n + 1));
  std::vector<Wire> strips;
  for (size_t part = 0; part < parts; ++part) {
    for (size_t row = 0; row < n; row += most) {
      const std::string name =
          w.state.names.packed_label(fmt::format("{}/{}", label, strips.size()));
      strips.push_back(write_diagonal_strip(w, name, matrix, part * n + row,
                                            part * n + std::min(n, row + most)));
    }
  }
  const Wire joined = join(w, "diagonals", strips, 0);
  return w.step("square", fmt::format("reshape({}, shape = {})", joined.id, list(shape)), shape);
}

Wire add_diagonal(const WeightWriter& w, const std::string& label, const SparseMatrix& matrix,
                  const Wire& blocks, const Shape& shape) {
  const size_t n = matrix.fold.rows;
  const bool whole =
      w.state.options.profile == "opaque" || matrix.fold.parts * n * (n + 1) <= kFoldedItems;
  const Wire square = whole ? write_diagonal(w, label, matrix, shape)
                            : write_diagonal_strips(w, label, matrix, shape);
  return w.step("whole", fmt::format("add({}, {})", blocks.id, square.id), shape);
}

// 1 where a block or a diagonal lies.
Tensor mask_of(const SparseMatrix& matrix) {
  const auto ones = [](const Tensor& tensor) {
    const std::vector<float> values(tensor.count(), 1.0F);
    return from_f32(values, DType::kF32, tensor.shape());
  };
  SparseMatrix covered = matrix;
  covered.dtype = DType::kF32;
  covered.values = ones(matrix.values);
  covered.scale = Tensor();
  if (matrix.has_diagonal()) covered.diagonal = ones(matrix.diagonal);
  const Tensor dense = decode(covered);
  Tensor mask = Tensor::zeros(DType::kBool, matrix.shape);
  std::ranges::transform(dense.data<float>(), mask.mutable_data<uint8_t>().begin(),
                         [](float value) { return static_cast<uint8_t>(value != 0 ? 1 : 0); });
  return mask;
}

}  // namespace

Wire WeightWriter::variable(std::string name, std::string label, DType dtype, const Shape& shape,
                            std::function<Tensor()> make) const {
  // Decodes of the plain profiles take scalars, whatever these are stored as.
  const std::string_view type = dtype == DType::kI8 && is_plain() ? "scalar" : nnef_type(dtype);
  const std::string line =
      fmt::format("variable<{}>(shape = {}, label = {})", type, list(shape), nnef::quoted(label));
  static_cast<void>(dat_header(dtype, shape));  // a size that does not fit is an error here
  state.variables[name] = {std::move(label), std::move(make)};
  state.variable_order.push_back(name);
  return state.text.assign(std::move(name), line, Extents(shape.begin(), shape.end()), dtype);
}

Wire WeightWriter::part(std::string_view suffix, const std::string& label, DType dtype,
                        const Shape& shape, std::function<Tensor()> make) const {
  return variable(state.names.identifier(fmt::format("{}_{}", id, suffix)),
                  fmt::format("{}/{}", label, suffix), dtype, shape, std::move(make));
}

Wire WeightWriter::step(std::string_view suffix, std::string expression, const Shape& shape,
                        DType dtype) const {
  return state.text.assign(state.names.identifier(fmt::format("{}_{}", id, suffix)),
                           std::move(expression), Extents(shape.begin(), shape.end()), dtype);
}

bool WeightWriter::is_plain() const {
  return state.options.profile == "portable" || state.options.profile == "opaque";
}

void WeightWriter::use(Decode kind) const {
  if (const std::optional<Decode> inner = decode_called_by(kind)) use(*inner);
  if (std::ranges::find(state.decodes, kind) == state.decodes.end()) state.decodes.push_back(kind);
}

bool is_ragged(const SparseMatrix& matrix) {
  return matrix.fold.rows % matrix.block.rows != 0 || matrix.fold.cols % matrix.block.cols != 0;
}

bool has_decoded_shape(const SparseMatrix& matrix) {
  const Shape& shape = matrix.shape;
  const size_t rank = shape.size();
  return !matrix.fold.transposed ||
         (rank >= 2 && shape[rank - 2] == static_cast<int64_t>(matrix.fold.cols) &&
          shape[rank - 1] == static_cast<int64_t>(matrix.fold.rows));
}

Shape decoded_shape(const SparseMatrix& matrix) {
  if (!has_decoded_shape(matrix))
    throw Error(Fault::kUnsupported, "it is folded in a way that NNEF cannot express");
  Shape shape = matrix.shape;
  if (matrix.fold.transposed) std::swap(shape[shape.size() - 2], shape[shape.size() - 1]);
  return shape;
}

// Which of the grid decodes fits, and its attributes besides the shape.
DecodeArguments write_blocks(const WeightWriter& w, const std::string& label,
                             const SparseMatrix& matrix, const Strip& strip, const Shape& shape) {
  const size_t rows = strip.rows(), cols = strip.cols();
  const auto [br, bc] = matrix.block;
  const Shape padded{static_cast<int64_t>(rows * br), static_cast<int64_t>(cols * bc)};
  DecodeArguments result;
  result.values = write_values(w, label, matrix, strip).id;
  result.index = write_index(w, label, matrix, strip).id;
  result.attributes = fmt::format("grid = [{}, {}, {}, {}]", rows, cols, br, bc);
  // A strip is a matrix, also one that several parts without ragged rows are in.
  const Strip all = entire(matrix);
  const bool is_whole = rows == all.rows() && cols == all.cols();
  const bool one_part = matrix.fold.parts == 1 || !is_whole;
  if (inside(matrix, strip) == padded) {
    result.kind = Decode::grid;
  } else if (one_part && shape.size() == 2) {
    result.kind = Decode::ragged;
    result.attributes += fmt::format(", padded = {}", list(padded));
  } else {
    result.kind = Decode::parts;
    const size_t part_rows = matrix.grid_rows();
    result.attributes += fmt::format(", padded = [{}, {}, {}], keep = [{}, {}]", matrix.fold.parts,
                                     part_rows * br, cols * bc, matrix.fold.rows, matrix.fold.cols);
  }
  return result;
}

Wire write_packed(const WeightWriter& w, std::string_view name, const SparseMatrix& matrix) {
  const WriteOptions& options = w.state.options;
  const std::string label = w.state.names.packed_label(name);
  const Shape shape = decoded_shape(matrix);
  Wire result;
  if (options.profile == "portable") {
    result = write_portable(w, label, matrix, shape);
  } else {
    result = write_decode(w, label, matrix, shape);
  }
  matrix.give_back();  // strips have counted its blocks; its parts are made when they are written
  if (matrix.values.dtype() == DType::kI8) result = scale_rows(w, label, matrix, result, shape);
  if (matrix.has_diagonal()) result = add_diagonal(w, label, matrix, result, shape);
  if (matrix.dtype == DType::kF32) return result;
  return w.step("cast",
                fmt::format("tract_core_cast({}, to = '{}')", result.id, name_of(matrix.dtype)),
                shape, matrix.dtype);
}

Wire write_masked(const WeightWriter& w, std::string_view name, const SparseMatrix& matrix) {
  const std::string label = w.state.names.packed_label(name);
  const Shape& shape = matrix.shape;
  const Wire values =
      w.part("values", label, matrix.dtype, shape, [&matrix] { return decode(matrix); });
  const Wire mask =
      w.part("mask", label, DType::kBool, shape, [&matrix] { return mask_of(matrix); });
  return w.step("masked", fmt::format("select({}, {}, 0.0)", mask.id, values.id), shape,
                matrix.dtype);
}

}  // namespace espalier::nnef
