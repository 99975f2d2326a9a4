#pragma once

#include "lib/sparse/sparse_matrix.h"

namespace espalier {

/// Makes row_start and col of a matrix from where its blocks lie, one after the other. The fold and
/// the block of the matrix are set before; its grid has fewer than 2^32 block rows and columns.
class BlockIndex {
 public:
  explicit BlockIndex(SparseMatrix& matrix);

  /// Errors  Fault::kFormat for a place outside of the grid, and for one in a block row before that
  ///         of the last block; descending or duplicate columns are left to validate().
  void add(int64_t row, int64_t col);
  /// All blocks at once, by a bitmap: bit i of `bits`, the highest of a byte first, stands for block
  /// i of the grid, block row after block row. `bits` has ceil(grid / 8) bytes.
  ///
  /// Errors  Fault::kFormat for a bit behind the grid, and where not `blocks` bits are set.
  void add(Bytes bits, size_t blocks);
  /// After the last block.
  void finish();

 private:
  SparseMatrix& matrix_;
  int64_t last_row_ = 0;
};

}  // namespace espalier
