#include "lib/kernels/sparse_product.h"

#include <algorithm>
#include <array>

#include "lib/base/check.h"

namespace espalier {

#define ESPALIER_KERNEL(name) extern const SparseKernel kernel_##name;
#include "lib/kernels/kernels.def"

namespace {

constexpr std::array kKernels = {
#define ESPALIER_KERNEL(name) &kernel_##name,
#include "lib/kernels/kernels.def"
};

// Elements first .. first + count - 1. They stay where they are, but for those of a part of a tensor
// that is made when it is looked at.
Tensor slice(const Tensor& tensor, size_t first, size_t count, Shape shape) {
  if (count == tensor.count()) return tensor.reshaped(std::move(shape));
  const size_t size = bytes_of(tensor.dtype());
  const Bytes from = tensor.bytes().subspan(first * size, count * size);
  if (!tensor.is_deferred())
    return {tensor.dtype(), std::move(shape), from, std::make_shared<const Tensor>(tensor)};
  Tensor part = Tensor::zeros(tensor.dtype(), std::move(shape));
  std::copy(from.begin(), from.end(), part.mutable_bytes().begin());
  return part;
}

}  // namespace

SparseMatrix parts_of(const SparseMatrix& weight, size_t first, size_t count) {
  const size_t first_row = first * weight.grid_rows(), rows = count * weight.grid_rows();
  const uint32_t begin = weight.row_start[first_row];
  const uint32_t end = weight.row_start[first_row + rows];
  SparseMatrix part;
  part.fold = weight.fold;
  part.fold.parts = count;
  part.shape = {static_cast<int64_t>(count), static_cast<int64_t>(weight.fold.rows),
                static_cast<int64_t>(weight.fold.cols)};
  part.fold.transposed = false;
  part.block = weight.block;
  part.dtype = weight.dtype;
  if (count == weight.fold.parts) {
    part.row_start = weight.row_start;
    part.col = weight.col;
  } else {
    for (size_t row = 0; row <= rows; ++row)
      part.row_start.push_back(weight.row_start[first_row + row] - begin);
    part.col.assign(weight.col.begin() + begin, weight.col.begin() + end);
  }
  const size_t area = weight.block.area();
  part.values = slice(weight.values, begin * area, (end - begin) * area,
                      {static_cast<int64_t>(end - begin), static_cast<int64_t>(weight.block.rows),
                       static_cast<int64_t>(weight.block.cols)});
  if (weight.scale.count() != 0)
    part.scale = slice(weight.scale, first * weight.fold.rows, count * weight.fold.rows,
                       {static_cast<int64_t>(count * weight.fold.rows)});
  if (weight.has_diagonal())
    part.diagonal = slice(weight.diagonal, first * weight.fold.rows, count * weight.fold.rows,
                          {static_cast<int64_t>(count * weight.fold.rows)});
  return part;
}

std::span<const SparseKernel* const> sparse_kernels() { return kKernels; }

bool takes(const SparseKernel& kernel, const SparseMatrix& weight) {
  return (kernel.block == BlockShape{0, 0} || kernel.block == weight.block) &&
         (kernel.takes == nullptr || kernel.takes(weight));
}

std::unique_ptr<const Product> prepare_sparse(const SparseMatrix& weight, bool plain, bool exact) {
  if (plain) return kKernels.back()->prepare(weight);
  for (const SparseKernel* kernel : kKernels)
    if ((kernel->exact || !exact) && takes(*kernel, weight)) return kernel->prepare(weight);
  ESPALIER_CHECK(!"kernels.def lists no kernel for every shape");
  return nullptr;
}

std::unique_ptr<const Product> prepare_sparse_parts(const SparseMatrix& weight, size_t first,
                                                    size_t count, bool plain, bool exact) {
  ESPALIER_CHECK(first + count <= weight.fold.parts);
  return prepare_sparse(parts_of(weight, first, count), plain, exact);
}

}  // namespace espalier
