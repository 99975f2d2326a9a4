#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace espalier::nnef {

/// The line of a graph.nnef with packed weights that names their version: "# ai.espalier 1".
inline constexpr std::string_view kVersionComment = "# ai.espalier ";

/// The fragments that turn a packed weight back into a dense one (docs/formats/sparse-nnef.md).
/// Readers other than espalier expand them; espalier knows them by name and body and keeps the
/// weight packed.
///
/// Labels  the weight called NAME is stored in the variables NAME/values, NAME/index and, where it
///         has one, NAME/diag (first-element index: also NAME/offsets); reading gives NAME back.
/// Parts   gates, directions and groups are stacked block rows: part p owns block rows p * R to
///         (p + 1) * R - 1 of a grid [parts * R, C, br, bc].
enum class Decode {
  grid,      ///< block_sparse_decode(values, index, grid, shape): no ragged edge
  ragged,    ///< block_sparse_decode_ragged(values, index, grid, padded, shape): one matrix
             ///< [rows, cols] = shape, cut out of padded = [R * br, C * bc]
  parts,     ///< block_sparse_decode_parts(values, index, grid, padded, keep, shape): ragged parts
             ///< and weights of any rank; padded = [parts, R * br, C * bc], keep = [rows, cols] of
             ///< one part
  first,     ///< block_sparse_decode_first(values, index, offsets, count, places, size, shape):
             ///< index is [N], the place of each block's first element in the flat weight
  bitmap,    ///< block_sparse_decode_bitmap(values, mask, ids, pages, flat, cells, count, grid,
             ///< padded, keep, shape): mask = [A, K, K] has one item for each block of the grid,
             ///< then zeros; ids = 0 .. K - 1; pages = [A, A], A <= K; the others as parts has them
  portable,  ///< block_sparse_decode_portable(values, index, row_ids, col_ids, flat, cells, shape):
             ///< standard operators alone; a strip of the weight, cells = [R, br, bc, C], row_ids =
             ///< 0 .. R - 1, col_ids = 0 .. C - 1; one block at (R, C) stands for none
  portable_ragged,  ///< block_sparse_decode_portable_ragged(values, index, row_ids, col_ids, flat,
                    ///< cells, padded, shape): as ragged
  gather,    ///< block_sparse_decode_gather(values, map, shape): map[R, C] says which block stands
             ///< where, as often as it likes; one of them is all zeros
  diagonal,  ///< stacked_diagonal(diag, column, padding, flat, keep, shape): [parts * n] to
             ///< [parts * n, n]; added to the decoded weight
  diagonal_strip,  ///< stacked_diagonal_strip(diag, column, padding, line, shift, keep, shape): rows
                   ///< first to first + m of one part, [m] to [m, n]; shift = [(first, 0)]

  // Products with a decoded weight, for engines that have an operator for it.
  matmul,         ///< block_sparse_matmul(input, values, index, grid, shape)
  matmul_ragged,  ///< block_sparse_matmul_ragged(input, values, index, grid, padded, shape)
  matmul_parts,   ///< block_sparse_matmul_parts(input, values, index, grid, padded, keep, shape)
  linear,         ///< block_sparse_linear(input, values, index, bias, grid, shape)
  linear_ragged,  ///< block_sparse_linear_ragged(input, values, index, bias, grid, padded, shape)
};

struct DecodeFragment {
  Decode kind;
  std::string_view name;
  std::string_view text;  ///< its definition, as espalier writes it; ends with a newline

  /// The declaration alone.
  std::string declaration() const;
};

/// All of them; a definition stands before its users.
std::span<const DecodeFragment> decode_fragments();
const DecodeFragment* find_decode_fragment(std::string_view name);
const DecodeFragment& decode_fragment(Decode kind);
/// The fragment that the body of `kind` calls.
std::optional<Decode> decode_called_by(Decode kind);

}  // namespace espalier::nnef
