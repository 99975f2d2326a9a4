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

/// Blocks of the grids of all parts, kept or not.
size_t grid_blocks(const Fold& fold, BlockShape block);
size_t grid_blocks(const SparseMatrix& matrix);

/// What decides on the index of a packed weight.
struct StoredBlocks {
  Fold fold;
  BlockShape block;
  size_t kept;           ///< blocks
  DType values, weight;  ///< as stored, and as decoded
};
/// Bytes that the decode of a bitmap takes in a file beside that of pairs, at most.
constexpr size_t kLongerDecode = 2048;
/// Whether the index is a bitmap, one bit for each block of the grid: where that takes fewer bytes
/// than pairs, by what pays for the longer decode. Blocks of at most 64 elements;
/// those of 8 times the bytes of a pair and more keep pairs where these are smaller than the dense
/// weight, as stock readers take what scatters large blocks more easily.
bool takes_bitmap(const StoredBlocks& stored);
bool takes_bitmap(const SparseMatrix& matrix);
/// Whether the matrix takes fewer bytes than the dense weight with `index` bytes for each block.
bool is_smaller_with(const SparseMatrix& matrix, size_t index);
/// Bytes of the index of all kept blocks, pairs or bitmap.
size_t index_bytes(const StoredBlocks& stored);
/// The same with what the index adds to the decode in a file: what block shapes are compared by.
size_t index_bytes_in_file(const StoredBlocks& stored);

/// Index into values of diagonal element `r` of a part, nothing where its block is not kept.
std::optional<size_t> place_of_diagonal(const SparseMatrix& matrix, size_t part, size_t r);

}  // namespace espalier
