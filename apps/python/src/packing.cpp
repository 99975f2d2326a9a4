// Arrays to packed matrices and back: docs/formats/sparse-pack.md.
#include <nanobind/stl/string.h>

#include <cstring>

#include "apps/python/src/arrays.h"
#include "apps/python/src/failure.h"
#include "lib/sparse/block_index.h"
#include "lib/sparse/pack.h"

namespace nb = nanobind;

namespace espalier::python {
namespace {

using Weight = nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Index = nb::ndarray<const int64_t, nb::shape<-1, 2>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// A tensor that reads the array's elements where they lie; only as long as the array is there.
template <typename T>
Tensor borrowed(const T& array, DType dtype) {
  Shape shape;
  for (size_t i = 0; i < array.ndim(); ++i) shape.push_back(static_cast<int64_t>(array.shape(i)));
  return Tensor(
      dtype, shape,
      Bytes(static_cast<const std::byte*>(static_cast<const void*>(array.data())), array.nbytes()),
      nullptr);
}

DType value_type(const std::string& name) {
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16, DType::kI8})
    if (name == name_of(type)) return type;
  throw Error(Fault::kUsage, "values are " + printable(name) + ", expected f32, f16, bf16 or i8");
}

espalier_type c_type(DType type) {
  switch (type) {
    case DType::kF16:
      return ESPALIER_F16;
    case DType::kBF16:
      return ESPALIER_BF16;
    case DType::kI8:
      return ESPALIER_I8;
    default:
      return ESPALIER_F32;
  }
}

nb::object array_of(const Tensor& tensor) {
  const Bytes bytes = tensor.bytes();
  Buffer buffer(bytes.size());
  if (!bytes.empty()) std::memcpy(buffer.data(), bytes.data(), bytes.size());
  return buffer.array(c_type(tensor.dtype()), {tensor.shape().begin(), tensor.shape().end()});
}

nb::object index_of(const SparseMatrix& matrix) {
  Buffer buffer(matrix.blocks() * 2 * sizeof(int64_t));
  auto* pair = reinterpret_cast<int64_t*>(buffer.data());
  for (size_t row = 0; row + 1 < matrix.row_start.size(); ++row)
    for (size_t block = matrix.row_start.vector()[row]; block < matrix.row_start.vector()[row + 1];
         ++block) {
      *pair++ = static_cast<int64_t>(row);
      *pair++ = matrix.col.vector()[block];
    }
  return buffer.array(ESPALIER_I64, {matrix.blocks(), 2});
}

// (values, index, scale, diagonal) of a weight [parts, outputs, inputs].
nb::tuple pack(const Weight& weight, const std::string& block, bool diagonal,
               const std::string& values) {
  const Fold fold{weight.shape(0), weight.shape(1), weight.shape(2)};
  if (diagonal && fold.rows != fold.cols)
    throw Error(Fault::kUsage, "diagonal: the parts are not square");
  SparseMatrix matrix;
  const DType type = value_type(values);
  {
    const nb::gil_scoped_release unlock;
    const Tensor dense = borrowed(weight, DType::kF32);
    const BlockMask mask = nonzero_blocks(dense, fold, parse_block_shape(block), diagonal);
    matrix = pack_blocks(dense, fold, mask, diagonal);
    if (type != DType::kF32) matrix = with_values(matrix, type);
  }
  return nb::make_tuple(array_of(matrix.values), index_of(matrix), array_of(matrix.scale),
                        array_of(matrix.diagonal));
}

// The dense weight of such arrays, which are checked as those of a file are.
nb::object unpack(const Input& values, const std::string& type, const Index& index,
                  const Floats& scale, const Floats& diagonal, size_t parts, size_t rows,
                  size_t cols) {
  if (values.ndim() != 3)
    throw Error(Fault::kFormat, "values: expected [blocks, block rows, block columns]");
  const DType dtype = value_type(type);
  if (bytes_of(dtype) != values.itemsize() || values.shape(0) != index.shape(0))
    throw Error(Fault::kFormat, "values and index: expected as many blocks, values of " + type);
  if (values.shape(1) > 4096 || values.shape(2) > 4096 || values.shape(1) == 0 ||
      values.shape(2) == 0)
    throw Error(Fault::kFormat, "values: expected blocks of 1 to 4096 rows and columns");
  constexpr size_t kMost = size_t{1} << 31;
  if (rows == 0 || cols == 0 || rows > kMost || cols > kMost || parts == 0 || parts > kMost)
    throw Error(Fault::kFormat, "shape: expected extents from 1 to 2147483648");
  SparseMatrix matrix;
  matrix.shape = {static_cast<int64_t>(parts), static_cast<int64_t>(rows),
                  static_cast<int64_t>(cols)};
  matrix.fold = {parts, rows, cols};
  matrix.block = {static_cast<uint32_t>(values.shape(1)), static_cast<uint32_t>(values.shape(2))};
  static_cast<void>(byte_count(DType::kF32, matrix.shape));
  Tensor dense;
  {
    const nb::gil_scoped_release unlock;
    matrix.values = borrowed(values, dtype);
    if (scale.size() != 0) matrix.scale = borrowed(scale, DType::kF32);
    if (diagonal.size() != 0) matrix.diagonal = borrowed(diagonal, DType::kF32);
    BlockIndex places(matrix);
    for (size_t i = 0; i < index.shape(0); ++i)
      places.add(index.data()[2 * i], index.data()[2 * i + 1]);
    places.finish();
    validate(matrix);
    dense = decode(matrix);
  }
  return array_of(dense);
}

}  // namespace

void add_packing(nb::module_& module) {
  module.def("pack", &pack, nb::arg("weight"), nb::arg("block"), nb::arg("diagonal"),
             nb::arg("values"));
  module.def("decode", &unpack, nb::arg("values"), nb::arg("type"), nb::arg("index"),
             nb::arg("scale"), nb::arg("diagonal"), nb::arg("parts"), nb::arg("rows"),
             nb::arg("cols"));
}

}  // namespace espalier::python
