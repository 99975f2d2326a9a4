#include "formats/onnx/sparse_tensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "lib/base/limits.h"
#include "lib/sparse/pack.h"

namespace espalier {
namespace {

bool packable(DType dtype, const Shape& shape) {
  return (dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16) &&
         shape.size() >= 2 && element_count(shape) != 0;
}

Tensor read_indices(const pb::SparseTensorProto& proto, ExternalFiles& external) {
  pb::TensorProto copy = proto.indices();
  try {
    Tensor indices = take_tensor(copy, external);
    // onnx knows i64 alone; onnxruntime writes the narrowest type that holds them.
    constexpr std::array kTypes{DType::kI8, DType::kI16, DType::kI32, DType::kI64};
    if (std::ranges::count(kTypes, indices.dtype()) == 0) {
      throw Error(Fault::kFormat, fmt::format("type is {}, expected i8, i16, i32 or i64",
                                              name_of(indices.dtype())));
    }
    return indices;
  } catch (Error& error) {
    error.add_context("indices");
    throw;
  }
}

// Position i's element in the dense tensor, row-major.
std::vector<uint64_t> linear_places(const Tensor& indices, const Shape& shape, size_t nnz) {
  const size_t count = element_count(shape);
  const size_t rank = shape.size();
  const bool linear = indices.shape().size() == 1;
  const Shape wanted = linear ? Shape{static_cast<int64_t>(nnz)}
                              : Shape{static_cast<int64_t>(nnz), static_cast<int64_t>(rank)};
  if (indices.shape() != wanted) {
    throw Error(Fault::kFormat, fmt::format("indices have shape {}, {} values need {}",
                                            to_string(indices.shape()), nnz, to_string(wanted)));
  }
  const std::vector<int64_t> raw = to_i64(indices);
  std::vector<uint64_t> places(nnz, 0);
  for (size_t i = 0; i < nnz; ++i) {
    if (linear) {
      if (raw[i] < 0 || static_cast<uint64_t>(raw[i]) >= count)
        throw Error(Fault::kFormat, fmt::format("index {} is {}, shape {} has {} elements", i,
                                                raw[i], to_string(shape), count));
      places[i] = static_cast<uint64_t>(raw[i]);
      continue;
    }
    for (size_t axis = 0; axis < rank; ++axis) {
      const int64_t at = raw[i * rank + axis];
      if (at < 0 || at >= shape[axis])
        throw Error(Fault::kFormat, fmt::format("index {} is {} on axis {}, shape is {}", i, at,
                                                axis, to_string(shape)));
      places[i] = places[i] * static_cast<uint64_t>(shape[axis]) + static_cast<uint64_t>(at);
    }
  }
  return places;
}

// Positions in ascending order of their places; refuses places that come twice.
std::vector<size_t> sorted_positions(const std::vector<uint64_t>& places) {
  std::vector<size_t> order(places.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (!std::ranges::is_sorted(places))
    std::ranges::stable_sort(order, {}, [&](size_t i) { return places[i]; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (places[order[i]] == places[order[i - 1]])
      throw Error(Fault::kFormat, fmt::format("indices {} and {} both name element {}",
                                              order[i - 1], order[i], places[order[i]]));
  }
  return order;
}

// Puts element `from` of one byte span to element `to` of another, `width` bytes each.
void move_element(std::span<std::byte> target, size_t to, Bytes source, size_t from, size_t width) {
  std::memcpy(target.data() + to * width, source.data() + from * width, width);
}

// Places ascend; the i-th is element order[i] of values.
SparseMatrix matrix_of(const Shape& shape, const Fold& fold, const Tensor& values,
                       const std::vector<uint64_t>& places, const std::vector<size_t>& order) {
  SparseMatrix matrix;
  matrix.shape = shape;
  matrix.fold = fold;
  matrix.dtype = values.dtype();
  matrix.values = Tensor::zeros(values.dtype(), {static_cast<int64_t>(order.size()), 1, 1});
  matrix.diagonal = Tensor::zeros(values.dtype(), {0});
  matrix.row_start.assign(fold.parts * fold.rows + 1, 0);
  matrix.col.reserve(order.size());
  const auto target = matrix.values.mutable_bytes();
  for (size_t i = 0; i < order.size(); ++i) {
    const uint64_t place = places[order[i]];
    matrix.col.push_back(static_cast<uint32_t>(place % fold.cols));
    ++matrix.row_start[place / fold.cols + 1];
    move_element(target, i, values.bytes(), order[i], bytes_of(values.dtype()));
  }
  std::vector<uint32_t>& row_start = matrix.row_start.own();
  std::partial_sum(row_start.begin(), row_start.end(), row_start.begin());
  return matrix;
}

Tensor dense_of(const Shape& shape, const Tensor& values, const std::vector<uint64_t>& places) {
  if (bits_of(values.dtype()) % 8 != 0 || values.dtype() == DType::kString) {
    throw Error(Fault::kUnsupported,
                fmt::format("sparse tensors of {} are not supported", name_of(values.dtype())));
  }
  Tensor dense = Tensor::zeros(values.dtype(), shape);
  for (size_t i = 0; i < places.size(); ++i)
    move_element(dense.mutable_bytes(), places[i], values.bytes(), i, bytes_of(values.dtype()));
  return dense;
}

bool is_zero(Bytes bytes, size_t index, size_t width) {
  return std::ranges::all_of(bytes.subspan(index * width, width),
                             [](std::byte b) { return b == std::byte{0}; });
}

// The values that stand at `places` of `dense`.
Tensor gathered(const Tensor& dense, const std::vector<uint64_t>& places) {
  Tensor values = Tensor::zeros(dense.dtype(), {static_cast<int64_t>(places.size())});
  for (size_t i = 0; i < places.size(); ++i)
    move_element(values.mutable_bytes(), i, dense.bytes(), places[i], bytes_of(dense.dtype()));
  return values;
}

// The places that the file had, if they still hold all elements that are not zero.
std::optional<std::vector<uint64_t>> places_as_read(const Tensor& dense,
                                                    const pb::SparseTensorProto& leftovers) {
  if (!leftovers.has_indices()) return std::nullopt;
  ExternalFiles none(std::nullopt);
  try {
    const Tensor indices = read_indices(leftovers, none);
    const size_t nnz = indices.shape().empty() ? 0 : static_cast<size_t>(indices.shape()[0]);
    std::vector<uint64_t> places = linear_places(indices, dense.shape(), nnz);
    const size_t width = bytes_of(dense.dtype());
    const auto held = std::ranges::count_if(
        places, [&](uint64_t place) { return !is_zero(dense.bytes(), place, width); });
    if (static_cast<size_t>(held) != count_nonzero(dense)) return std::nullopt;
    return places;
  } catch (const Error&) {  // another shape by now, or indices that lie in an external file
    return std::nullopt;
  }
}

std::vector<uint64_t> nonzero_places(const Tensor& dense) {
  std::vector<uint64_t> places;
  const size_t width = bytes_of(dense.dtype());
  for (size_t i = 0; i < dense.count(); ++i) {
    if (!is_zero(dense.bytes(), i, width)) places.push_back(i);
  }
  return places;
}

}  // namespace

void check_expansion(size_t stored_bytes, size_t dense_bytes) {
  if (dense_bytes <= limits::sparse_always || dense_bytes / limits::sparse_ratio <= stored_bytes)
    return;
  throw Error(Fault::kFormat,
              fmt::format("{} bytes unpack to {}, expected at most {} times as much above 64 MiB",
                          stored_bytes, dense_bytes, limits::sparse_ratio));
}

std::variant<Tensor, SparseMatrix> take_sparse_tensor(pb::SparseTensorProto& proto,
                                                      ExternalFiles& external) {
  const Shape shape(proto.dims().begin(), proto.dims().end());
  proto.clear_dims();
  if (!proto.has_values()) throw Error(Fault::kFormat, "values of the sparse tensor are missing");
  const Tensor values = take_tensor(*proto.mutable_values(), external);
  if (values.shape().size() != 1) {
    throw Error(Fault::kFormat,
                fmt::format("values have shape {}, expected one axis", to_string(values.shape())));
  }
  check_expansion(values.bytes().size(), byte_count(values.dtype(), shape));
  std::vector<uint64_t> places;
  if (proto.has_indices() || values.count() != 0)
    places = linear_places(read_indices(proto, external), shape, values.count());
  const std::vector<size_t> order = sorted_positions(places);
  if (!packable(values.dtype(), shape)) return dense_of(shape, values, places);
  const auto rows = static_cast<size_t>(shape[0]);
  SparseMatrix matrix =
      matrix_of(shape, {1, rows, element_count(shape) / rows}, values, places, order);
  validate(matrix);
  return matrix;
}

SparseMatrix refolded(const SparseMatrix& matrix, const Fold& fold) {
  ESPALIER_CHECK(matrix.block.area() == 1 && matrix.fold.count() == fold.count());
  std::vector<uint64_t> places;
  places.reserve(matrix.blocks());
  for (size_t row = 0; row + 1 < matrix.row_start.size(); ++row) {
    for (size_t b = matrix.row_start[row]; b < matrix.row_start[row + 1]; ++b) {
      const size_t at =
          matrix.fold.offset(row / matrix.fold.rows, row % matrix.fold.rows, matrix.col[b]);
      const size_t area = fold.rows * fold.cols, inside = at % area;
      // The place in the stacked matrix, whichever way it is stored.
      places.push_back(
          fold.transposed ? at - inside + inside % fold.rows * fold.cols + inside / fold.rows : at);
    }
  }
  std::vector<size_t> order(places.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t i) { return places[i]; });
  return matrix_of(matrix.shape, fold, matrix.values, places, order);
}

size_t count_nonzero(const Tensor& dense) {
  const size_t width = bytes_of(dense.dtype());
  size_t result = 0;
  for (size_t i = 0; i < dense.count(); ++i) result += is_zero(dense.bytes(), i, width) ? 0 : 1;
  return result;
}

pb::SparseTensorProto put_sparse_tensor(const Weight& weight, pb::SparseTensorProto leftovers) {
  const Tensor dense = dense_of(weight);
  pb::SparseTensorProto proto = std::move(leftovers);
  proto.mutable_dims()->Assign(dense.shape().begin(), dense.shape().end());
  std::optional<std::vector<uint64_t>> places = places_as_read(dense, proto);
  if (!places) {
    places = nonzero_places(dense);
    const std::vector<int64_t> linear(places->begin(), places->end());
    proto.clear_indices();
    *proto.mutable_indices() = complete(
        stored_tensor(Tensor::of<int64_t>({static_cast<int64_t>(linear.size())}, linear), {}));
  }
  *proto.mutable_values() =
      complete(stored_tensor(gathered(dense, *places), std::move(*proto.mutable_values())));
  return proto;
}

}  // namespace espalier
