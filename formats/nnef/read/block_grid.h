#pragma once

#include <vector>

#include "formats/nnef/read/call.h"
#include "lib/sparse/sparse_matrix.h"

namespace espalier::nnef {

/// From how many blocks on columns are read again when they are looked at. A weight of 32 MiB is
/// some ten strips of that many in 16x1 blocks.
inline constexpr size_t kWorthDeferring = size_t{1} << 12;

/// The grid of blocks that a decode fills, all parts stacked.
struct Grid {
  size_t rows = 0, cols = 0;  ///< blocks
  Fold fold;
  BlockShape block;
  Shape shape;
};

/// Errors  Fault::kFormat where the shape is not that of the fold; Fault::kUnsupported past
///         kMaxElements and kMaxBlockRows.
void check_grid(const Call& call, const Grid& grid);

/// Errors  Fault::kFormat for extents outside of 1 to 2^20.
BlockShape block_shape(const Call& call, int64_t rows, int64_t cols);

/// Blocks `order` of `values` [N, br, bc], one after another.
Tensor reordered(const Tensor& values, const std::vector<size_t>& order);

/// The weight with `values` at `pairs`, the (block row, block column) of each block in any order.
/// Blocks of i8 get a scale of ones; elements of edge blocks outside of the weight become zeros.
/// `index`: integers [N, 2] that `pairs` came from, where there is such a tensor; of many blocks in
/// order, columns are read from it again when they are looked at.
/// Errors  Fault::kFormat: a pair outside of the grid, or twice; those of check_grid.
SparseMatrix on_grid(const Call& call, const Grid& grid, const Tensor& values,
                     const std::vector<int64_t>& pairs, const Tensor* index = nullptr);

}  // namespace espalier::nnef
