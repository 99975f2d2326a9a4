#include <cstring>
#include <utility>

#include "lib/base/checked_math.h"
#include "lib/c/kernels/guard.h"
#include "lib/c/kernels/handles.h"
#include "lib/sparse/block_index.h"
#include "lib/sparse/pack.h"
#include "lib/sparse/pack_rules.h"

namespace espalier {
namespace {

constexpr size_t kMostRows = size_t{1} << 26;
constexpr uint32_t kMostBlock = 4096;

// Extents of a weight, checked before anything is allocated.
Fold fold_of(size_t parts, size_t rows, size_t cols) {
  expect(parts >= 1 && rows >= 1 && cols >= 1, "{} parts of [{}, {}], expected at least 1 each",
         parts, rows, cols);
  const auto outputs = checked_mul(parts, rows);
  if (!outputs || *outputs > kMostRows || cols > kMostRows)
    throw Error(Fault::kUnsupported,
                fmt::format("{} parts of [{}, {}]: at most {} outputs and inputs are supported",
                            parts, rows, cols, kMostRows));
  return {parts, rows, cols};
}

BlockShape block_of(uint32_t rows, uint32_t cols) {
  expect(rows >= 1 && cols >= 1 && rows <= kMostBlock && cols <= kMostBlock,
         "blocks are {}x{}, expected 1 to {} each", rows, cols, kMostBlock);
  return {rows, cols};
}

// `count` elements at `from`, whether or not they stay there.
Tensor elements(const void* from, DType dtype, Shape shape, bool borrowed, const char* name) {
  const size_t bytes = byte_count(dtype, shape);
  expect(from != nullptr || bytes == 0, "{} is null", name);
  const Bytes given(static_cast<const std::byte*>(from), bytes);
  if (borrowed) return Tensor(dtype, std::move(shape), given, nullptr);
  Tensor copy = Tensor::zeros(dtype, std::move(shape));
  if (bytes != 0) std::memcpy(copy.mutable_bytes().data(), from, bytes);
  return copy;
}

template <typename T>
void read_index(const void* index, size_t blocks, SparseMatrix& matrix) {
  BlockIndex places(matrix);
  matrix.col.reserve(blocks);
  const auto* pairs = static_cast<const std::byte*>(index);
  for (size_t b = 0; b < blocks; ++b, pairs += 2 * sizeof(T)) {
    std::array<T, 2> pair;
    std::memcpy(pair.data(), pairs, sizeof pair);
    places.add(static_cast<int64_t>(pair[0]), static_cast<int64_t>(pair[1]));
  }
  places.finish();
}

void read_bitmap(const espalier_matrix_desc& desc, DType type, SparseMatrix& matrix) {
  expect(type == DType::kU8, "index_type is {}, expected u8 for a bitmap", name_of(type));
  expect(desc.index != nullptr, "index is null");
  BlockIndex places(matrix);
  matrix.col.reserve(desc.blocks);
  const Bytes bits(static_cast<const std::byte*>(desc.index), ceil_div(grid_blocks(matrix), 8));
  places.add(bits, desc.blocks);
  places.finish();
}

void read_index(const espalier_matrix_desc& desc, SparseMatrix& matrix) {
  const DType type = dtype_of_c(desc.index_type, "index_type");
  if ((desc.flags & ESPALIER_INDEX_BITMAP) != 0) return read_bitmap(desc, type, matrix);
  expect(desc.index != nullptr || desc.blocks == 0, "index is null");
  switch (type) {
    case DType::kU16:
      return read_index<uint16_t>(desc.index, desc.blocks, matrix);
    case DType::kU32:
      return read_index<uint32_t>(desc.index, desc.blocks, matrix);
    case DType::kI64:
      return read_index<int64_t>(desc.index, desc.blocks, matrix);
    default:
      expect(false, "index_type is {}, expected u16, u32, i64 or, of a bitmap, u8", name_of(type));
  }
}

Tensor scale_of(const espalier_matrix_desc& desc, size_t outputs) {
  if (desc.scales == 0) return Tensor::zeros(DType::kF32, {0});
  expect(desc.scale != nullptr, "scale is null");
  expect(desc.scales == 1 || desc.scales == outputs, "{} scales, expected 1 or {}", desc.scales,
         outputs);
  Tensor scale = Tensor::zeros(DType::kF32, {static_cast<int64_t>(outputs)});
  for (size_t i = 0; i < outputs; ++i)
    scale.mutable_data<float>()[i] = desc.scale[desc.scales == 1 ? 0 : i];
  return scale;
}

// The described matrix, values borrowed where the flag says so; every extent and index is checked.
SparseMatrix matrix_of(const espalier_matrix_desc& desc) {
  expect_flags(desc.flags, ESPALIER_BORROW_VALUES | ESPALIER_INDEX_BITMAP, "matrix");
  SparseMatrix m;
  m.fold = fold_of(desc.parts, desc.rows, desc.cols);
  m.block = block_of(desc.block_rows, desc.block_cols);
  m.shape = {static_cast<int64_t>(desc.parts), static_cast<int64_t>(desc.rows),
             static_cast<int64_t>(desc.cols)};
  const size_t outputs = desc.parts * desc.rows;
  const auto grid = checked_mul<uint64_t>(m.fold.parts * m.grid_rows(), m.grid_cols());
  if (!grid || desc.blocks > *grid || desc.blocks > UINT32_MAX)
    throw Error(Fault::kFormat, fmt::format("{} blocks, the grid has {}", desc.blocks, *grid));
  const DType type = dtype_of_c(desc.type, "type");
  expect(can_be_values(type), "type is {}, expected f32, f16, bf16 or i8", name_of(type));
  m.values =
      elements(desc.values, type, {static_cast<int64_t>(desc.blocks), m.block.rows, m.block.cols},
               (desc.flags & ESPALIER_BORROW_VALUES) != 0, "values");
  m.scale = scale_of(desc, outputs);
  const DType diagonal = type == DType::kI8 ? DType::kF32 : type;
  m.diagonal =
      desc.diagonal == nullptr
          ? Tensor::zeros(diagonal, {0})
          : elements(desc.diagonal, diagonal, {static_cast<int64_t>(outputs)}, false, "diagonal");
  read_index(desc, m);
  validate(m);
  return m;
}

}  // namespace
}  // namespace espalier

using namespace espalier;

extern "C" {

espalier_status espalier_matrix_create(const espalier_matrix_desc* desc, espalier_matrix** matrix) {
  return guarded([&] {
    espalier_matrix*& result = not_null(matrix, "matrix");
    result = nullptr;
    result = new espalier_matrix{matrix_of(described(desc, "desc"))};
  });
}

espalier_status espalier_matrix_pack(const float* weight, size_t parts, size_t rows, size_t cols,
                                     uint32_t block_rows, uint32_t block_cols,
                                     espalier_matrix** matrix) {
  return guarded([&] {
    espalier_matrix*& result = not_null(matrix, "matrix");
    result = nullptr;
    const Fold fold = fold_of(parts, rows, cols);
    const BlockShape block = block_of(block_rows, block_cols);
    product_of_extents({parts, rows, cols}, "weight");
    const Tensor dense = elements(
        weight, DType::kF32,
        {static_cast<int64_t>(parts), static_cast<int64_t>(rows), static_cast<int64_t>(cols)},
        /*borrowed=*/true, "weight");
    result = new espalier_matrix{pack_blocks(
        dense, fold, nonzero_blocks(dense, fold, block, /*diagonal=*/false), /*diagonal=*/false)};
  });
}

espalier_status espalier_matrix_parts(const espalier_matrix* matrix, size_t first, size_t count,
                                      espalier_matrix** part) {
  return guarded([&] {
    espalier_matrix*& result = not_null(part, "part");
    result = nullptr;
    const SparseMatrix& from = not_null(matrix, "matrix").matrix;
    expect(count >= 1 && first < from.fold.parts && count <= from.fold.parts - first,
           "{} parts from {} on, the matrix has {}", count, first, from.fold.parts);
    result = new espalier_matrix{parts_of(from, first, count)};
  });
}

size_t espalier_matrix_outputs(const espalier_matrix* matrix) {
  return matrix == nullptr ? 0 : matrix->matrix.fold.parts * matrix->matrix.fold.rows;
}
size_t espalier_matrix_inputs(const espalier_matrix* matrix) {
  return matrix == nullptr ? 0 : matrix->matrix.fold.cols;
}
size_t espalier_matrix_blocks(const espalier_matrix* matrix) {
  return matrix == nullptr ? 0 : matrix->matrix.blocks();
}

espalier_status espalier_matrix_decode(const espalier_matrix* matrix, float* weight) {
  return guarded([&] {
    const Tensor dense = decode(not_null(matrix, "matrix").matrix);
    std::memcpy(&not_null(weight, "weight"), dense.bytes().data(), dense.bytes().size());
  });
}

void espalier_matrix_destroy(espalier_matrix* matrix) { delete matrix; }

}  // extern "C"
