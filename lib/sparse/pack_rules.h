#pragma once

#include <optional>

#include "lib/sparse/sparse_matrix.h"

namespace espalier {

/// f32, f16 and bf16: packing moves bit patterns of 2 and 4 bytes.
bool can_be_packed(DType dtype);
/// Types that values of a packed weight may have: those, and i8 with a scale.
bool can_be_values(DType dtype);

/// Bytes of one (block row, block column) pair: two u16 where all stacked block rows and all block
/// columns stay below 2^16, else two u32.
size_t index_bytes(const Fold& fold, BlockShape block);

/// Index into values of diagonal element `r` of a part, nothing where its block is not kept.
std::optional<size_t> place_of_diagonal(const SparseMatrix& matrix, size_t part, size_t r);

}  // namespace espalier
