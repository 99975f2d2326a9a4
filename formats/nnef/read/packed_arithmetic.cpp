#include "formats/nnef/read/packed_arithmetic.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "formats/nnef/read/decode_arguments.h"
#include "lib/base/check.h"
#include "lib/sparse/pack.h"

namespace espalier::nnef {
namespace {

// Moves what blocks hold on the diagonal over to it. The sum is what a dense reader computes.
void clear_diagonal(SparseMatrix& matrix, Tensor& diagonal) {
  std::vector<size_t> found;
  std::vector<size_t> where;
  for (size_t row = 0; row + 1 < matrix.row_start.size(); ++row) {
    const size_t part = row / matrix.grid_rows();
    const size_t first_row = row % matrix.grid_rows() * matrix.block.rows;
    for (size_t b = matrix.row_start[row]; b < matrix.row_start[row + 1]; ++b) {
      const size_t first_col = size_t{matrix.col[b]} * matrix.block.cols;
      for (size_t r = 0; r < matrix.block.rows; ++r) {
        const size_t at = first_row + r;
        const bool inside = at >= first_col && at < first_col + matrix.block.cols;
        if (!inside || at >= matrix.fold.rows) continue;
        found.push_back(b * matrix.block.area() + r * matrix.block.cols + (at - first_col));
        where.push_back(part * matrix.fold.rows + at);
      }
    }
  }
  const Tensor values = values_as_f32(matrix);
  const auto is_zero = [&](size_t place) { return values.data<float>()[place] == 0; };
  if (std::ranges::all_of(found, is_zero)) return;
  matrix.values = values.copy();
  matrix.scale = Tensor::zeros(DType::kF32, {0});
  diagonal = from_f32(to_f32(diagonal), DType::kF32, diagonal.shape());
  const std::span<float> blocks = matrix.values.mutable_data<float>();
  const std::span<float> line = diagonal.mutable_data<float>();
  for (size_t i = 0; i < found.size(); ++i) {
    line[where[i]] += blocks[found[i]];
    blocks[found[i]] = 0;
  }
}

// One factor for each row where `scale` has the leading extents of the weight, then ones; one for
// all where it is a single number.
std::optional<std::vector<float>> row_factors(const Tensor& scale, const SparseMatrix& matrix) {
  const size_t rows = matrix.fold.parts * matrix.fold.rows;
  const std::vector<float> factors = to_f32(scale);
  if (factors.size() == 1) return std::vector<float>(rows, factors[0]);
  const Shape& extents = scale.shape();
  if (factors.size() != rows || extents.size() > matrix.shape.size()) return std::nullopt;
  size_t covered = 1;
  for (size_t axis = 0; axis < extents.size() && covered != rows; ++axis) {
    if (extents[axis] != matrix.shape[axis]) return std::nullopt;
    covered *= static_cast<size_t>(extents[axis]);
  }
  return factors;
}

bool all_ones(const Tensor& scale) {
  return std::ranges::all_of(to_f32(scale), [](float value) { return value == 1; });
}

void scale_values(SparseMatrix& matrix, const std::vector<float>& factors) {
  matrix.values = values_as_f32(matrix).copy();
  matrix.scale = Tensor::zeros(DType::kF32, {0});
  const std::span<float> values = matrix.values.mutable_data<float>();
  for (size_t block_row = 0; block_row + 1 < matrix.row_start.size(); ++block_row) {
    const size_t part = block_row / matrix.grid_rows();
    const size_t top = part * matrix.fold.rows + block_row % matrix.grid_rows() * matrix.block.rows;
    for (size_t b = matrix.row_start[block_row]; b < matrix.row_start[block_row + 1]; ++b) {
      for (size_t i = 0; i < matrix.block.area(); ++i) {
        const size_t row = top + i / matrix.block.cols;
        if (row >= (part + 1) * matrix.fold.rows) continue;  // sticks out: zeros
        values[b * matrix.block.area() + i] *= factors[row];
      }
    }
  }
}

// Matrices whose blocks are joined: each a [rows, columns] of one part.
using Strips = std::vector<const SparseMatrix*>;

// The packed parts, where they go together along `axis` but for their extents there.
std::optional<Strips> strips_of(const std::vector<TensorRef>& parts, size_t axis) {
  Strips strips;
  for (const TensorRef& part : parts) {
    const SparseMatrix* strip = part.constant == nullptr ? nullptr : part.constant->sparse();
    if (strip == nullptr) return std::nullopt;
    strips.push_back(strip);
    const SparseMatrix& first = *strips[0];
    const auto rows = static_cast<int64_t>(strip->fold.rows);
    const auto cols = static_cast<int64_t>(strip->fold.cols);
    const bool fits = strip->shape == Shape{rows, cols} && strip->fold.parts == 1 &&
                      !strip->fold.transposed && !strip->has_diagonal() &&
                      strip->block == first.block && strip->dtype == first.dtype &&
                      strip->values.dtype() == first.values.dtype() &&
                      (axis == 0 ? cols == first.shape[1] : rows == first.shape[0]);
    if (!fits) return std::nullopt;
  }
  return strips;
}

// The blocks of one block row behind those that are there, `left` block columns to the right.
void append_blocks(SparseMatrix& whole, std::byte*& to, const SparseMatrix& strip, size_t row,
                   uint32_t left) {
  const uint32_t begin = strip.row_start[row], end = strip.row_start[row + 1];
  for (uint32_t b = begin; b < end; ++b) whole.col.push_back(left + strip.col[b]);
  const size_t bytes = strip.block.area() * bytes_of(strip.values.dtype());
  const Bytes taken = strip.values.bytes().subspan(begin * bytes, (end - begin) * bytes);
  to = std::ranges::copy(taken, to).out;
}

// Below each other. A strip whose rows end inside a block ends a part: all parts are of one height.
std::optional<Fold> stacked_fold(const Strips& strips) {
  Fold fold{0, 0, strips[0]->fold.cols, false};
  size_t rows = 0;
  for (size_t i = 0; i < strips.size(); ++i) {
    rows += strips[i]->fold.rows;
    if (i + 1 != strips.size() && strips[i]->fold.rows % strips[i]->block.rows == 0) continue;
    if (fold.parts != 0 && rows != fold.rows) return std::nullopt;
    fold.rows = rows;
    ++fold.parts;
    rows = 0;
  }
  return fold;
}

// Beside each other: only the last may end inside a block.
std::optional<Fold> widened_fold(const Strips& strips) {
  Fold fold{1, strips[0]->fold.rows, 0, false};
  for (size_t i = 0; i < strips.size(); ++i) {
    const bool ragged = strips[i]->fold.cols % strips[i]->block.cols != 0;
    if (ragged && i + 1 != strips.size()) return std::nullopt;
    const bool same_scale =
        strips[i]->values.dtype() != DType::kI8 || same_bits(strips[i]->scale, strips[0]->scale);
    if (!same_scale) return std::nullopt;
    fold.cols += strips[i]->fold.cols;
  }
  return fold;
}

// What the joined matrix is, its parts by type and size alone.
SparseMatrix joined_frame(const Strips& strips, const Fold& fold, size_t axis) {
  const SparseMatrix& first = *strips.front();
  const auto sized = [](DType dtype, Shape shape) {
    if (element_count(shape) == 0) return Tensor::zeros(dtype, std::move(shape));
    return Tensor::deferred(dtype, std::move(shape), [] { return Tensor(); });
  };
  size_t blocks = 0, scales = 0;
  for (const SparseMatrix* strip : strips) {
    blocks += strip->blocks();
    scales += strip->scale.count();
  }
  SparseMatrix frame;
  frame.block = first.block;
  frame.fold = fold;
  frame.dtype = first.dtype;
  frame.shape = {static_cast<int64_t>(fold.parts * fold.rows), static_cast<int64_t>(fold.cols)};
  frame.row_start = Indices::deferred(fold.parts * frame.grid_rows() + 1, {});
  frame.col = Indices::deferred(blocks, {});
  frame.values = sized(first.values.dtype(),
                       {static_cast<int64_t>(blocks), frame.block.rows, frame.block.cols});
  frame.scale =
      axis == 1 || scales == 0 ? first.scale : sized(DType::kF32, {static_cast<int64_t>(scales)});
  return frame;
}

// The block rows of all strips, or for axis 1 those of equal number, and their scales.
SparseMatrix joined(const SparseMatrix& frame, const std::vector<SparseMatrix>& strips,
                    size_t axis) {
  SparseMatrix whole = frame;
  whole.row_start = {0};
  whole.col = Indices();
  whole.values = Tensor::zeros(frame.values.dtype(), frame.values.shape());
  std::byte* to = whole.values.mutable_bytes().data();
  std::vector<float> scale;
  const auto end_row = [&] { whole.row_start.push_back(static_cast<uint32_t>(whole.col.size())); };
  if (axis == 0) {
    for (const SparseMatrix& strip : strips) {
      for (size_t row = 0; row < strip.grid_rows(); ++row) {
        append_blocks(whole, to, strip, row, 0);
        end_row();
      }
      const std::vector<float> more = to_f32(strip.scale);
      scale.insert(scale.end(), more.begin(), more.end());
    }
    if (!scale.empty())
      whole.scale = from_f32(scale, DType::kF32, {static_cast<int64_t>(scale.size())});
  } else {
    for (size_t row = 0; row < strips[0].grid_rows(); ++row) {
      size_t left = 0;
      for (const SparseMatrix& strip : strips) {
        append_blocks(whole, to, strip, row, static_cast<uint32_t>(left));
        left += strip.grid_cols();
      }
      end_row();
    }
  }
  return whole;
}

}  // namespace

std::optional<EvalValue> add_packed(const TensorRef& a, const TensorRef& b) {
  if (a.constant == nullptr || b.constant == nullptr) return std::nullopt;
  const bool diagonal_first = a.constant->diagonal() != nullptr;
  const ConstantPtr& blocks = diagonal_first ? b.constant : a.constant;
  const Diagonal* diagonal = (diagonal_first ? a : b).constant->diagonal();
  const SparseMatrix* packed = blocks->sparse();
  const bool fits = diagonal != nullptr && packed != nullptr && !packed->has_diagonal() &&
                    !packed->fold.transposed && a.constant->shape == b.constant->shape &&
                    diagonal->n > 0 && diagonal->is_whole();
  if (!fits) return std::nullopt;
  const Fold fold{diagonal->parts, diagonal->n, diagonal->n, false};
  SparseMatrix matrix = *folded(blocks, fold)->sparse();
  Tensor line = diagonal->values;
  clear_diagonal(matrix, line);
  if (matrix.values.dtype() == DType::kI8) {
    line = as_f32(line);
  } else if (line.dtype() != matrix.values.dtype()) {  // both in one type: the wider
    line = as_f32(line);
    matrix.values = as_f32(matrix.values);
  }
  matrix.diagonal = line;
  return packed_weight(blocks->has_label ? blocks->name : "", std::move(matrix));
}

std::optional<EvalValue> concat_diagonals(const std::vector<TensorRef>& parts) {
  std::vector<std::byte> bytes;
  const Diagonal* first = nullptr;
  size_t rows = 0;
  for (const TensorRef& part : parts) {
    const Diagonal* strip = part.constant == nullptr ? nullptr : part.constant->diagonal();
    if (strip == nullptr || strip->n == 0) return std::nullopt;
    if (first == nullptr) first = strip;
    const Shape shape{static_cast<int64_t>(strip->values.count()), static_cast<int64_t>(strip->n)};
    const bool fits = strip->n == first->n && strip->first == rows % first->n &&
                      strip->values.dtype() == first->values.dtype() &&
                      part.constant->shape == shape;
    if (!fits) return std::nullopt;
    rows += strip->values.count();
    bytes.insert(bytes.end(), strip->values.bytes().begin(), strip->values.bytes().end());
  }
  if (first == nullptr || rows % first->n != 0) return std::nullopt;
  Tensor values = Tensor::zeros(first->values.dtype(), {static_cast<int64_t>(rows)});
  std::ranges::copy(bytes, values.mutable_bytes().begin());
  return EvalValue::of_tensor(
      {kNoValue, make_constant("", Diagonal{values, rows / first->n, first->n, 0},
                               {static_cast<int64_t>(rows), static_cast<int64_t>(first->n)})});
}

// Strips are joined when their weight is looked at, one weight at a time: until then a file that is
// larger than memory is only mapped.
std::optional<EvalValue> concat_packed(const std::vector<TensorRef>& parts, size_t axis) {
  if (axis > 1 || parts.size() < 2) return std::nullopt;
  const std::optional<Strips> strips = strips_of(parts, axis);
  if (!strips) return std::nullopt;
  const std::optional<Fold> fold = axis == 0 ? stacked_fold(*strips) : widened_fold(*strips);
  if (!fold) return std::nullopt;
  const SparseMatrix frame = joined_frame(*strips, *fold, axis);
  std::vector<SparseMatrix> kept;
  for (const SparseMatrix* strip : *strips) kept.push_back(*strip);
  SparseMatrix whole = deferred(frame, [frame, kept = std::move(kept), axis] {
    SparseMatrix matrix = joined(frame, kept, axis);
    for (const SparseMatrix& strip : kept) strip.give_back();
    return matrix;
  });
  // Strips are NAME/0, NAME/1, ...
  std::string name = parts[0].constant->has_label ? parts[0].constant->name : "";
  name = name.ends_with("/0") ? name.substr(0, name.size() - 2) : "";
  return packed_weight(std::move(name), std::move(whole));
}

std::optional<EvalValue> scale_packed(const TensorRef& a, const TensorRef& b) {
  if (a.constant == nullptr || b.constant == nullptr) return std::nullopt;
  const bool scale_first = a.constant->dense() != nullptr;
  const ConstantPtr& blocks = scale_first ? b.constant : a.constant;
  const Tensor* scale = (scale_first ? a : b).constant->dense();
  const SparseMatrix* packed = blocks->sparse();
  const bool usable = scale != nullptr && packed != nullptr && !packed->has_diagonal() &&
                      !packed->fold.transposed && packed->dtype == DType::kF32 &&
                      scale->dtype() == DType::kF32 && packed->values.dtype() != DType::kF16;
  if (!usable) return std::nullopt;
  const std::optional<std::vector<float>> factors = row_factors(*scale, *packed);
  if (!factors) return std::nullopt;
  SparseMatrix matrix = *packed;
  const auto is_scale = [](float value) { return value >= 0 && std::isfinite(value); };
  if (matrix.values.dtype() == DType::kI8 && all_ones(matrix.scale) &&
      std::ranges::all_of(*factors, is_scale)) {
    matrix.scale = from_f32(*factors, DType::kF32, {static_cast<int64_t>(factors->size())});
  } else {
    scale_values(matrix, *factors);
  }
  return packed_weight(blocks->has_label ? blocks->name : "", std::move(matrix));
}

// A mask of logicals selects; one of numbers multiplies, and must be all 0 and 1.
std::optional<EvalValue> mask_constant(const TensorRef& mask, const TensorRef& values) {
  if (mask.constant == nullptr || values.constant == nullptr) return std::nullopt;
  const Tensor* kept = mask.constant->dense();
  const Tensor* given = values.constant->dense();
  const bool fits = kept != nullptr && given != nullptr && kept->shape() == given->shape() &&
                    (given->dtype() == DType::kF32 || given->dtype() == DType::kF16);
  if (!fits) return std::nullopt;
  std::vector<bool> keeps;
  if (kept->dtype() == DType::kBool) {
    for (const uint8_t one : kept->data<uint8_t>()) keeps.push_back(one != 0);
  } else if (kept->dtype() == DType::kF32) {
    // A product: what is not finite stays so where the mask is 0.
    const auto is_finite = [](float value) { return std::isfinite(value); };
    if (!std::ranges::all_of(to_f32(*given), is_finite)) return std::nullopt;
    for (const float one : kept->data<float>()) {
      if (one != 0 && one != 1) return std::nullopt;
      keeps.push_back(one == 1);
    }
  } else {
    return std::nullopt;
  }
  Tensor dense = given->copy();
  const size_t width = bytes_of(dense.dtype());
  for (size_t i = 0; i < keeps.size(); ++i) {
    if (!keeps[i]) std::memset(dense.mutable_bytes().data() + i * width, 0, width);
  }
  const std::string& label = values.constant->name;
  const bool named = values.constant->has_label && label.ends_with("/values") &&
                     mask.constant->name == label.substr(0, label.size() - 6) + "mask";
  const ConstantPtr result =
      make_constant(named ? label.substr(0, label.size() - 7) : "", std::move(dense));
  result->has_label = named;
  result->masked = true;
  return EvalValue::of_tensor({kNoValue, result});
}

}  // namespace espalier::nnef
