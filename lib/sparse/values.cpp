// Stored values of another type than the weight's (docs/algorithms/values.md).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "lib/base/error.h"
#include "lib/sparse/pack.h"
#include "lib/sparse/pack_rules.h"

namespace espalier {
namespace {

// Of i8 values: as many steps below zero as above.
constexpr float kMostSteps = 127;

// Index of an element of the weight along each axis.
std::string place_in(Shape shape, size_t offset) {
  for (size_t axis = shape.size(); axis-- > 0;) {
    const auto extent = static_cast<size_t>(shape[axis]);
    shape[axis] = static_cast<int64_t>(offset % extent);
    offset /= extent;
  }
  return to_string(shape);
}

// Where stored element `element` lies in the weight.
size_t offset_of(const SparseMatrix& m, size_t element) {
  const size_t block = element / m.block.area(), inside = element % m.block.area();
  const auto above = std::ranges::upper_bound(m.row_start, block);
  const auto row = static_cast<size_t>(above - m.row_start.begin()) - 1;
  return m.fold.offset(row / m.grid_rows(),
                       row % m.grid_rows() * m.block.rows + inside / m.block.cols,
                       m.col[block] * m.block.cols + inside % m.block.cols);
}

[[noreturn]] void does_not_fit(const SparseMatrix& m, float value, size_t offset, DType dtype) {
  throw Error(Fault::kFormat, fmt::format("element {} is {}, which does not fit into {}",
                                          place_in(m.shape, offset), value, name_of(dtype)));
}

// `offset_of(i)` is where element i lies in the weight.
template <typename Offset>
Tensor narrowed(const SparseMatrix& m, const Tensor& tensor, DType dtype, const Offset& offset_of) {
  if (tensor.dtype() == dtype) return tensor;
  const std::vector<float> values = to_f32(tensor);
  const Tensor result = from_f32(values, dtype, tensor.shape());
  const std::vector<float> back = to_f32(result);
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i]) && !std::isfinite(back[i]))
      does_not_fit(m, values[i], offset_of(i), dtype);
  }
  return result;
}

Tensor narrowed_values(const SparseMatrix& m, const Tensor& values, DType dtype) {
  return narrowed(m, values, dtype, [&](size_t i) { return offset_of(m, i); });
}

Tensor narrowed_diagonal(const SparseMatrix& m, DType dtype) {
  if (!m.has_diagonal()) return m.diagonal;
  return narrowed(m, m.diagonal, dtype, [&](size_t i) {
    return m.fold.offset(i / m.fold.rows, i % m.fold.rows, i % m.fold.rows);
  });
}

// Calls visit(stacked output, index of the first of `block.cols` stored elements) for every piece
// of an output, block row after block row, output after output.
template <typename Visit>
void for_each_piece(const SparseMatrix& m, const Visit& visit) {
  for (size_t row = 0; row + 1 < m.row_start.size(); ++row) {
    const size_t first = row % m.grid_rows() * m.block.rows;
    const size_t output = row / m.grid_rows() * m.fold.rows + first;
    const size_t inside = std::min<size_t>(m.block.rows, m.fold.rows - first);
    for (size_t i = 0; i < inside; ++i) {
      for (size_t b = m.row_start[row]; b < m.row_start[row + 1]; ++b)
        visit(output + i, b * m.block.area() + i * m.block.cols);
    }
  }
}

// To the nearest integer, ties to even: a float of this size has no bits below one.
float rounded(float steps) {
  constexpr float kOnes = 0x1.8p23F;
  return (steps + kOnes) - kOnes;
}

float steps_of(float value, float scale) {
  return rounded(std::clamp(value / scale, -kMostSteps, kMostSteps));
}

double squared_error(std::span<const float> values, float scale) {
  double sum = 0;
  for (const float value : values) {
    const double off = static_cast<double>(value) - scale * steps_of(value, scale);
    sum += off * off;
  }
  return sum;
}

// A step of which 127 make `most`; where the floats end, at least as much and still finite.
float whole_step(float most) {
  float scale = most / kMostSteps;
  if (scale < std::numeric_limits<float>::min()) {
    while (kMostSteps * scale < most) scale = std::nextafter(scale, most);
  }
  while (std::isinf(kMostSteps * scale)) scale = std::nextafter(scale, 0.0F);
  return scale;
}

// Of steps that cut the largest values off more and more, the one with the least squared error; the
// first of equal ones. 0 for an output of zeros.
float best_scale(std::span<const float> values) {
  constexpr int kClips = 16;
  constexpr float kClipStep = 0.02F;
  float most = 0;
  for (const float value : values) most = std::max(most, std::abs(value));
  if (most == 0) return 0;
  float best = whole_step(most);
  double least = squared_error(values, best);
  for (int clip = 1; clip < kClips; ++clip) {
    const float scale = whole_step(most * (1 - kClipStep * static_cast<float>(clip)));
    const double error = squared_error(values, scale);
    if (error < least) best = scale, least = error;
  }
  return best;
}

std::vector<float> best_scales(const SparseMatrix& m, std::span<const float> values) {
  std::vector<float> scale(m.fold.parts * m.fold.rows), of_output;
  size_t at = 0;
  const auto close = [&] {
    if (!of_output.empty()) scale[at] = best_scale(of_output);
    of_output.clear();
  };
  for_each_piece(m, [&](size_t output, size_t first) {
    if (output != at) close();
    at = output;
    const auto piece = values.subspan(first, m.block.cols);
    of_output.insert(of_output.end(), piece.begin(), piece.end());
  });
  close();
  return scale;
}

Tensor quantized(const SparseMatrix& m, std::span<const float> values,
                 std::span<const float> scale) {
  Tensor result = Tensor::zeros(DType::kI8, m.values.shape());
  const auto to = result.mutable_data<int8_t>();
  for_each_piece(m, [&](size_t output, size_t first) {
    if (scale[output] == 0) return;
    for (size_t i = first; i < first + m.block.cols; ++i)
      to[i] = static_cast<int8_t>(steps_of(values[i], scale[output]));
  });
  return result;
}

// `scale` nothing: the best one.
SparseMatrix with_i8(const SparseMatrix& matrix, const Tensor* scale) {
  const std::vector<float> values = to_f32(values_as_f32(matrix));
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i]))
      does_not_fit(matrix, values[i], offset_of(matrix, i), DType::kI8);
  }
  const std::vector<float> scales = scale ? to_f32(*scale) : best_scales(matrix, values);
  SparseMatrix result = matrix;
  result.values = quantized(matrix, values, scales);
  result.scale = Tensor::of<float>({static_cast<int64_t>(scales.size())}, scales);
  result.diagonal = narrowed_diagonal(matrix, matrix.dtype);
  return result;
}

}  // namespace

Tensor values_as_f32(const SparseMatrix& matrix) {
  if (matrix.values.dtype() != DType::kI8) return as_f32(matrix.values);
  std::vector<float> values = to_f32(matrix.values);
  const std::vector<float> scale = to_f32(matrix.scale);
  for_each_piece(matrix, [&](size_t output, size_t first) {
    for (size_t i = first; i < first + matrix.block.cols; ++i) values[i] *= scale[output];
  });
  return Tensor::of<float>(matrix.values.shape(), values);
}

SparseMatrix with_values(const SparseMatrix& matrix, DType dtype) {
  ESPALIER_CHECK(can_be_values(dtype));
  if (matrix.values.dtype() == dtype) return matrix;
  if (dtype == DType::kI8) return with_i8(matrix, nullptr);
  SparseMatrix result = matrix;
  result.values = narrowed_values(matrix, values_as_f32(matrix), dtype);
  result.scale = Tensor::zeros(DType::kF32, {0});
  result.diagonal = narrowed_diagonal(matrix, dtype);
  return result;
}

SparseMatrix with_values_like(const SparseMatrix& matrix, const SparseMatrix& other) {
  if (other.values.dtype() != DType::kI8) return with_values(matrix, other.values.dtype());
  ESPALIER_CHECK(matrix.fold == other.fold && matrix.dtype == other.dtype);
  ESPALIER_CHECK(matrix.has_diagonal() == other.has_diagonal());
  return with_i8(matrix, &other.scale);
}

}  // namespace espalier
