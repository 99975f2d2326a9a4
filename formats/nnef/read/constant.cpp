#include "formats/nnef/read/constant.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/base/error.h"
#include "lib/sparse/pack.h"

namespace espalier::nnef {
namespace {

template <typename Make>
ConstantPtr derive(const ConstantPtr& constant, std::string key, const Make& make) {
  ConstantPtr& slot = constant->derived[std::move(key)];
  if (slot == nullptr) {
    slot = make();
    slot->has_label = constant->has_label;
    slot->masked = constant->masked;
  }
  return slot;
}

// A short file can name a large packed weight; what decodes it here would need all of it.
void check_decodable(const Shape& shape) {
  constexpr size_t kMaxElements = size_t{1} << 28;
  if (element_count(shape) > kMaxElements) {
    throw Error(
        Fault::kUnsupported,
        fmt::format("a packed weight of shape {} is used in a way that requires decoding it",
                    to_string(shape)));
  }
}

Tensor decode_diagonal(const Diagonal& diagonal, const Shape& shape) {
  Tensor result = Tensor::zeros(diagonal.values.dtype(), shape);
  const size_t width = bytes_of(result.dtype());
  const std::span<std::byte> bytes = result.mutable_bytes();
  for (size_t i = 0; i < diagonal.values.count(); ++i) {
    const size_t column = (diagonal.first + i) % diagonal.n;
    std::memcpy(bytes.data() + (i * diagonal.n + column) * width,
                diagonal.values.bytes().data() + i * width, width);
  }
  return result;
}

Tensor transpose_last(const Tensor& tensor) {
  Shape shape = tensor.shape();
  ESPALIER_CHECK(shape.size() >= 2);
  const auto rows = static_cast<size_t>(shape[shape.size() - 2]);
  const auto cols = static_cast<size_t>(shape.back());
  std::swap(shape[shape.size() - 2], shape.back());
  Tensor result = Tensor::zeros(tensor.dtype(), shape);
  if (tensor.count() == 0) return result;
  const size_t width = bytes_of(tensor.dtype());
  const std::byte* from = tensor.bytes().data();
  std::byte* to = result.mutable_bytes().data();
  for (size_t part = 0; part < tensor.count() / (rows * cols); ++part) {
    for (size_t c = 0; c < cols; ++c) {
      for (size_t r = 0; r < rows; ++r) {
        std::memcpy(to, from + ((part * rows + r) * cols + c) * width, width);
        to += width;
      }
    }
  }
  return result;
}

// Block rows keep their places where no part ends inside a block.
bool same_block_rows(const SparseMatrix& matrix, const Fold& fold) {
  const bool whole =
      matrix.fold.rows % matrix.block.rows == 0 && fold.rows % matrix.block.rows == 0;
  return whole && fold.cols == matrix.fold.cols && fold.transposed == matrix.fold.transposed;
}

// Parts first to first + count of a packed weight, with their values, scale and diagonal.
SparseMatrix take_parts(const SparseMatrix& matrix, size_t first, size_t count, Shape shape) {
  SparseMatrix result;
  result.shape = std::move(shape);
  result.fold = matrix.fold;
  result.fold.parts = count;
  result.block = matrix.block;
  result.dtype = matrix.dtype;
  const size_t rows = matrix.grid_rows();
  const auto begin = matrix.row_start.begin() + static_cast<ptrdiff_t>(first * rows);
  const uint32_t from = *begin, to = *(begin + static_cast<ptrdiff_t>(count * rows));
  for (auto at = begin; at != begin + static_cast<ptrdiff_t>(count * rows) + 1; ++at) {
    result.row_start.push_back(*at - from);
  }
  result.col.assign(matrix.col.begin() + from, matrix.col.begin() + to);
  const auto rows_of = [](const Tensor& tensor, size_t begin_row, size_t end_row) {
    Shape part = tensor.shape();
    part[0] = static_cast<int64_t>(end_row - begin_row);
    Tensor taken = Tensor::zeros(tensor.dtype(), part);
    const size_t bytes =
        tensor.shape()[0] == 0 ? 0 : tensor.bytes().size() / static_cast<size_t>(tensor.shape()[0]);
    if (!taken.bytes().empty()) {
      std::memcpy(taken.mutable_bytes().data(), tensor.bytes().data() + begin_row * bytes,
                  taken.bytes().size());
    }
    return taken;
  };
  result.values = rows_of(matrix.values, from, to);
  if (matrix.scale.count() != 0) {
    result.scale =
        rows_of(matrix.scale, first * matrix.fold.rows, (first + count) * matrix.fold.rows);
  }
  if (matrix.has_diagonal()) {
    result.diagonal =
        rows_of(matrix.diagonal, first * matrix.fold.rows, (first + count) * matrix.fold.rows);
  }
  return result;
}

SparseMatrix refold(const SparseMatrix& matrix, const Fold& fold) {
  if (same_block_rows(matrix, fold)) {
    SparseMatrix result = matrix;
    result.fold = fold;
    return result;
  }
  BlockShape block = matrix.block;
  if (fold.transposed != matrix.fold.transposed) std::swap(block.rows, block.cols);
  check_decodable(matrix.shape);
  const Tensor dense = decode(matrix);
  return pack_blocks(dense, fold, nonzero_blocks(dense, fold, block, false), false);
}

}  // namespace

DType Constant::dtype() const {
  if (const Tensor* tensor = dense()) return tensor->dtype();
  if (const SparseMatrix* matrix = sparse()) return matrix->dtype;
  return diagonal()->values.dtype();
}

ConstantPtr make_constant(std::string name, Tensor tensor) {
  auto result = std::make_shared<Constant>();
  result->name = std::move(name);
  result->shape = tensor.shape();
  result->value = std::move(tensor);
  return result;
}

ConstantPtr make_constant(std::string name, SparseMatrix matrix) {
  auto result = std::make_shared<Constant>();
  result->name = std::move(name);
  result->shape = matrix.shape;
  result->value = std::move(matrix);
  return result;
}

ConstantPtr make_constant(std::string name, Diagonal diagonal, Shape shape) {
  auto result = std::make_shared<Constant>();
  result->name = std::move(name);
  result->shape = std::move(shape);
  result->value = std::move(diagonal);
  return result;
}

Tensor dense_value(const Constant& constant) {
  if (const Tensor* tensor = constant.dense()) return *tensor;
  check_decodable(constant.shape);
  if (const SparseMatrix* matrix = constant.sparse()) return decode(*matrix);
  return decode_diagonal(*constant.diagonal(), constant.shape);
}

ConstantPtr reshaped(const ConstantPtr& constant, const Shape& shape) {
  if (constant->shape == shape) return constant;
  // From the first one on, so that there and back again is the same constant.
  ConstantPtr base = constant->unshaped.lock();
  if (base == nullptr) base = constant;
  if (base->shape == shape) return base;
  return derive(base, "reshape " + to_string(shape), [&] {
    ConstantPtr result = std::make_shared<Constant>(*base);
    result->shape = shape;
    result->placed = kNoValue;
    result->derived.clear();
    result->unshaped = base;
    if (const Tensor* tensor = base->dense()) result->value = tensor->reshaped(shape);
    if (const SparseMatrix* matrix = base->sparse()) {
      SparseMatrix other = *matrix;
      ESPALIER_CHECK(element_count(shape) == element_count(matrix->shape));
      other.shape = shape;
      result->value = std::move(other);
    }
    return result;
  });
}

// Swaps the last two axes. The matrices of a packed weight stay as they are where its fold can say
// so.
ConstantPtr transposed(const ConstantPtr& constant) {
  if (ConstantPtr back = constant->unturned.lock()) return back;
  const ConstantPtr result = derive(constant, "transpose", [&] {
    const SparseMatrix* matrix = constant->sparse();
    Shape shape = constant->shape;
    ESPALIER_CHECK(shape.size() >= 2);
    std::swap(shape[shape.size() - 2], shape.back());
    if (matrix == nullptr) {
      return make_constant(constant->name, transpose_last(dense_value(*constant)));
    }
    // The matrices [outputs, inputs] stay; the tensor is laid out the other way.
    const Fold& fold = matrix->fold;
    const auto rows = static_cast<int64_t>(fold.transposed ? fold.cols : fold.rows);
    const auto cols = static_cast<int64_t>(fold.transposed ? fold.rows : fold.cols);
    if (shape.back() == rows && shape[shape.size() - 2] == cols) {
      SparseMatrix turned = *matrix;
      turned.shape = shape;
      turned.fold.transposed = !fold.transposed;
      return make_constant(constant->name, std::move(turned));
    }
    return make_constant(constant->name, transpose_last(dense_value(*constant)));
  });
  result->unturned = constant;
  return result;
}

// Values of f16 blocks stay f16: decode() gives the wider type.
ConstantPtr widened(const ConstantPtr& constant, DType dtype) {
  if (constant->dtype() == dtype) return constant;
  if (const SparseMatrix* matrix = constant->sparse()) {
    const bool exact = matrix->values.dtype() == dtype ||
                       (matrix->values.dtype() == DType::kF16 && dtype == DType::kF32) ||
                       (matrix->values.dtype() == DType::kI8 && dtype == DType::kF16);
    if (!exact || (matrix->has_diagonal() && matrix->diagonal.dtype() != matrix->values.dtype())) {
      return nullptr;
    }
    return derive(constant, fmt::format("cast {}", name_of(dtype)), [&] {
      SparseMatrix other = *matrix;
      other.dtype = dtype;
      return make_constant(constant->name, std::move(other));
    });
  }
  const Tensor* tensor = constant->dense();
  if (tensor == nullptr) return nullptr;
  const DType from = tensor->dtype();
  const bool small =
      from == DType::kI8 || from == DType::kU8 || from == DType::kI16 || from == DType::kU16;
  if (dtype == DType::kF32 && (small || from == DType::kF16)) {
    return derive(constant, "cast f32", [&] {
      ConstantPtr result = make_constant(constant->name, as_f32(*tensor));
      if (from == DType::kF16) result->narrow = constant;
      return result;
    });
  }
  if (dtype == DType::kI64 && (small || from == DType::kI32 || from == DType::kU32)) {
    return derive(constant, "cast i64", [&] {
      const std::vector<int64_t> values = to_i64(*tensor);
      return make_constant(constant->name, Tensor::of<int64_t>(tensor->shape(), values));
    });
  }
  return nullptr;
}

// Strips of a packed weight stay packed where no part or block is cut.
ConstantPtr first_axis_slice(const ConstantPtr& constant, int64_t begin, int64_t end) {
  if (begin == 0 && end == constant->shape[0]) return constant;
  return derive(constant, fmt::format("slice {} {}", begin, end), [&] {
    Shape shape = constant->shape;
    const size_t stride = element_count(Shape(shape.begin() + 1, shape.end()));
    shape[0] = end - begin;
    const size_t first = static_cast<size_t>(begin) * stride;
    const size_t count = static_cast<size_t>(end - begin) * stride;
    const SparseMatrix* matrix = constant->sparse();
    const size_t part = matrix == nullptr ? 0 : matrix->fold.rows * matrix->fold.cols;
    if (part > 0 && first % part == 0 && count % part == 0) {
      return make_constant(constant->name,
                           take_parts(*matrix, first / part, count / part, std::move(shape)));
    }
    const Tensor dense = dense_value(*constant);
    Tensor copy = Tensor::zeros(dense.dtype(), shape);
    const size_t width = bytes_of(dense.dtype());
    if (count > 0) {
      std::memcpy(copy.mutable_bytes().data(), dense.bytes().data() + first * width, count * width);
    }
    return make_constant(constant->name, std::move(copy));
  });
}

ConstantPtr folded(const ConstantPtr& constant, const Fold& fold) {
  if (element_count(constant->shape) != fold.count()) return constant;
  const SparseMatrix* matrix = constant->sparse();
  if (matrix == nullptr ? !constant->masked : matrix->fold == fold) return constant;
  return derive(constant,
                fmt::format("fold {} {} {} {}", fold.parts, fold.rows, fold.cols, fold.transposed),
                [&] {
                  if (matrix != nullptr)
                    return make_constant(constant->name, refold(*matrix, fold));
                  auto packed = pack_smallest(*constant->dense(), fold);
                  return packed ? make_constant(constant->name, *std::move(packed))
                                : std::make_shared<Constant>(*constant);
                });
}

bool is_zero(const Constant& constant) {
  const Tensor* tensor = constant.dense();
  if (tensor == nullptr || !is_float(tensor->dtype())) return false;
  const size_t width = bytes_of(tensor->dtype());
  const Bytes bytes = tensor->bytes();
  for (size_t i = 0; i < bytes.size(); ++i) {
    const bool sign_byte = i % width == width - 1;
    const auto byte = static_cast<uint8_t>(bytes[i]);
    if (byte != 0 && !(sign_byte && byte == 0x80)) return false;
  }
  return true;
}

}  // namespace espalier::nnef
