#pragma once

#include <functional>

#include "lib/sparse/block_mask.h"
#include "lib/sparse/indices.h"
#include "lib/tensor/tensor.h"

namespace espalier {

/// A weight as its kept blocks (block compressed rows), exact to the bit: decode() gives back the
/// tensor it was packed from. Block rows of all parts are stacked: part p owns block rows p *
/// grid_rows() to (p + 1) * grid_rows() - 1. Invariant: row_start has parts * grid_rows() + 1
/// ascending entries from 0 to blocks(); col ascends within a block row and stays below
/// grid_cols(); values is [blocks(), block.rows, block.cols], row-major inside a block, zeros where
/// a block sticks out.
/// Source  docs/formats/sparse-pack.md.
struct SparseMatrix {
  Shape shape;  ///< the weight's own
  Fold fold;    ///< how that shape folds
  BlockShape block;
  Indices row_start, col;
  Tensor values;    ///< f32, f16, bf16, i8; the type that decode() gives is `dtype`
  Tensor scale;     ///< f32 [parts * rows] with i8 values: what a value of that output is worth;
                    ///< else empty
  Tensor diagonal;  ///< empty, or [parts * rows] where diagonals of square parts are kept apart;
                    ///< same type as values, `dtype` beside i8 values
  /// Of the weight; values may be narrower (f16 values of an f32 weight).
  DType dtype = DType::kF32;

  size_t grid_rows() const { return ceil_div(fold.rows, block.rows); }
  size_t grid_cols() const { return ceil_div(fold.cols, block.cols); }
  size_t blocks() const { return col.size(); }
  bool has_diagonal() const { return diagonal.count() != 0; }

  /// As Tensor::give_back, of all parts.
  void give_back() const;
  bool is_deferred() const;
};

/// The matrix `made`, whose parts are made by `make` when they are looked at, and again after
/// give_back(): the same each time. What `made` holds is not kept.
SparseMatrix deferred(const SparseMatrix& made, std::function<SparseMatrix()> make);

/// The matrix with all that is deferred made, for as long as the result lives.
SparseMatrix held(const SparseMatrix& matrix);

/// Stored values over rows * cols, 0 to 1; padding of edge blocks counts as stored, a diagonal does
/// not count.
double density(const SparseMatrix& matrix);

/// Bytes of values, scale, index (pairs of u16, u32 where the grid needs it, or a bitmap) and
/// diagonal: what a file holds of it, headers apart.
size_t packed_bytes(const SparseMatrix& matrix);

/// Errors  Fault::kFormat with what and where, when an invariant above does not hold (for readers
/// of files).
void validate(const SparseMatrix& matrix);

}  // namespace espalier
