#include "formats/nnef/decode_fragments.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "lib/base/check.h"

namespace espalier::nnef {
namespace {

constexpr std::string_view kGrid = R"(fragment block_sparse_decode(
    values: tensor<scalar>, index: tensor<integer>, grid: integer[], shape: integer[] )
    -> ( output: tensor<scalar> )
{
    zeros = tract_core_broadcast(0.0, shape = grid);
    place = tract_core_cast(index, to = 'i64');
    tiles = tract_core_scatter_nd(zeros, place, tract_core_cast(values, to = 'f32'));
    output = reshape(transpose(tiles, axes = [0, 2, 1, 3]), shape = shape);
}
)";

constexpr std::string_view kRagged = R"(fragment block_sparse_decode_ragged(
    values: tensor<scalar>, index: tensor<integer>, grid: integer[], padded: integer[],
    shape: integer[] )
    -> ( output: tensor<scalar> )
{
    zeros = tract_core_broadcast(0.0, shape = grid);
    place = tract_core_cast(index, to = 'i64');
    tiles = tract_core_scatter_nd(zeros, place, tract_core_cast(values, to = 'f32'));
    full = reshape(transpose(tiles, axes = [0, 2, 1, 3]), shape = padded);
    output = slice(full, axes = [0, 1], begin = [0, 0], end = shape);
}
)";

constexpr std::string_view kParts = R"(fragment block_sparse_decode_parts(
    values: tensor<scalar>, index: tensor<integer>, grid: integer[], padded: integer[],
    keep: integer[], shape: integer[] )
    -> ( output: tensor<scalar> )
{
    zeros = tract_core_broadcast(0.0, shape = grid);
    place = tract_core_cast(index, to = 'i64');
    tiles = tract_core_scatter_nd(zeros, place, tract_core_cast(values, to = 'f32'));
    full = reshape(transpose(tiles, axes = [0, 2, 1, 3]), shape = padded);
    kept = slice(full, axes = [1, 2], begin = [0, 0], end = keep);
    output = reshape(kept, shape = shape);
}
)";

constexpr std::string_view kFirst = R"(fragment block_sparse_decode_first(
    values: tensor<scalar>, index: tensor<integer>, offsets: tensor<integer>, count: integer[],
    places: integer[], size: integer[], shape: integer[] )
    -> ( output: tensor<scalar> )
{
    first = unsqueeze(tract_core_cast(index, to = 'i64'), axes = [1, 2]);
    place = add(first, unsqueeze(tract_core_cast(offsets, to = 'i64'), axes = [0]));
    zeros = tract_core_broadcast(0.0, shape = size);
    flat = tract_core_scatter_nd(zeros, reshape(place, shape = places), reshape(values, shape = count));
    output = reshape(flat, shape = shape);
}
)";

// Places are counted in f32, which is exact below 2^24: inside a row of a page, then whole rows,
// then whole pages. `set` alone has several readers, since constants of logicals may have one.
constexpr std::string_view kBitmap = R"(fragment block_sparse_decode_bitmap(
    values: tensor<scalar>, mask: tensor<logical>, ids: tensor<scalar>, pages: integer[],
    flat: integer[], cells: integer[], count: integer[], grid: integer[], padded: integer[],
    keep: integer[], shape: integer[] )
    -> ( output: tensor<scalar> )
{
    set = tract_core_cast(mask, to = 'f32');
    ahead = unsqueeze(select(lt(ids, transpose(ids, axes = [1, 0])), 1.0, 0.0), axes = [0]);
    row_sums = transpose(sum_reduce(set, axes = [2]), axes = [0, 2, 1]);
    rows_before = transpose(matmul(row_sums, ahead), axes = [0, 2, 1]);
    page_sums = transpose(sum_reduce(row_sums, axes = [2]), axes = [2, 1, 0]);
    pages_ahead = slice(ahead, axes = [1, 2], begin = [0, 0], end = pages);
    pages_before = transpose(matmul(page_sums, pages_ahead), axes = [2, 1, 0]);
    before = add(add(matmul(set, ahead), rows_before), pages_before);
    place = tract_core_cast(reshape(mul(set, before), shape = flat), to = 'i64');
    blocks = tract_core_gather(tract_core_cast(values, to = 'f32'), place, axis = 0);
    kept = reshape(ne(set, 0.0), shape = cells);
    tiles = slice(select(kept, blocks, 0.0), axes = [0], begin = [0], end = count);
    lines = transpose(reshape(tiles, shape = grid), axes = [0, 2, 1, 3]);
    whole = slice(reshape(lines, shape = padded), axes = [1, 2], begin = [0, 0], end = keep);
    output = reshape(whole, shape = shape);
}
)";

constexpr std::string_view kPortable = R"(fragment block_sparse_decode_portable(
    values: tensor<scalar>, index: tensor<scalar>, row_ids: tensor<scalar>,
    col_ids: tensor<scalar>, flat: integer[], cells: integer[], shape: integer[] )
    -> ( output: tensor<scalar> )
{
    rows = transpose(slice(index, axes = [1], begin = [0], end = [1]), axes = [1, 0]);
    cols = slice(index, axes = [1], begin = [1], end = [2]);
    in_row = select(eq(row_ids, rows), 1.0, 0.0);
    in_col = select(eq(col_ids, cols), 1.0, 0.0);
    v = unsqueeze(transpose(values, axes = [1, 2, 0]), axes = [0]);
    placed = reshape(mul(v, unsqueeze(in_row, axes = [1, 2])), shape = flat);
    tiles = reshape(matmul(placed, in_col), shape = cells);
    output = reshape(transpose(tiles, axes = [0, 1, 3, 2]), shape = shape);
}
)";

constexpr std::string_view kPortableRagged = R"(fragment block_sparse_decode_portable_ragged(
    values: tensor<scalar>, index: tensor<scalar>, row_ids: tensor<scalar>,
    col_ids: tensor<scalar>, flat: integer[], cells: integer[], padded: integer[],
    shape: integer[] )
    -> ( output: tensor<scalar> )
{
    full = block_sparse_decode_portable(values, index, row_ids, col_ids, flat = flat,
        cells = cells, shape = padded);
    output = slice(full, axes = [0, 1], begin = [0, 0], end = shape);
}
)";

constexpr std::string_view kGather = R"(fragment block_sparse_decode_gather(
    values: tensor<scalar>, map: tensor<integer>, shape: integer[] )
    -> ( output: tensor<scalar> )
{
    tiles = gather(values, map, axis = 0);
    output = reshape(transpose(tiles, axes = [0, 2, 1, 3]), shape = shape);
}
)";

constexpr std::string_view kDiagonal = R"(fragment stacked_diagonal(
    diag: tensor<scalar>, column: integer[], padding: (integer, integer)[], flat: integer[],
    keep: integer[], shape: integer[] )
    -> ( output: tensor<scalar> )
{
    wide = pad(reshape(diag, shape = column), padding = padding, border = 'constant', value = 0.0);
    square = slice(reshape(wide, shape = flat), axes = [1], begin = [0], end = keep);
    output = reshape(square, shape = shape);
}
)";

constexpr std::string_view kDiagonalStrip = R"(fragment stacked_diagonal_strip(
    diag: tensor<scalar>, column: integer[], padding: (integer, integer)[], line: integer[],
    shift: (integer, integer)[], keep: integer[], shape: integer[] )
    -> ( output: tensor<scalar> )
{
    wide = pad(reshape(diag, shape = column), padding = padding, border = 'constant', value = 0.0);
    moved = pad(reshape(wide, shape = line), padding = shift, border = 'constant', value = 0.0);
    output = reshape(slice(moved, axes = [0], begin = [0], end = keep), shape = shape);
}
)";

// Products: the decode of the same index, and the operator that reads it.
constexpr std::string_view kMatmul = R"(fragment block_sparse_matmul(
    input: tensor<scalar>, values: tensor<scalar>, index: tensor<integer>, grid: integer[],
    shape: integer[] )
    -> ( output: tensor<scalar> )
{
    weight = block_sparse_decode(values, index, grid = grid, shape = shape);
    output = matmul(input, weight, transposeB = true);
}
)";

constexpr std::string_view kMatmulRagged = R"(fragment block_sparse_matmul_ragged(
    input: tensor<scalar>, values: tensor<scalar>, index: tensor<integer>, grid: integer[],
    padded: integer[], shape: integer[] )
    -> ( output: tensor<scalar> )
{
    weight = block_sparse_decode_ragged(values, index, grid = grid, padded = padded, shape = shape);
    output = matmul(input, weight, transposeB = true);
}
)";

constexpr std::string_view kMatmulParts = R"(fragment block_sparse_matmul_parts(
    input: tensor<scalar>, values: tensor<scalar>, index: tensor<integer>, grid: integer[],
    padded: integer[], keep: integer[], shape: integer[] )
    -> ( output: tensor<scalar> )
{
    weight = block_sparse_decode_parts(values, index, grid = grid, padded = padded, keep = keep,
        shape = shape);
    output = matmul(input, weight, transposeB = true);
}
)";

constexpr std::string_view kLinear = R"(fragment block_sparse_linear(
    input: tensor<scalar>, values: tensor<scalar>, index: tensor<integer>, bias: tensor<scalar>,
    grid: integer[], shape: integer[] )
    -> ( output: tensor<scalar> )
{
    weight = block_sparse_decode(values, index, grid = grid, shape = shape);
    output = linear(input, weight, bias);
}
)";

constexpr std::string_view kLinearRagged = R"(fragment block_sparse_linear_ragged(
    input: tensor<scalar>, values: tensor<scalar>, index: tensor<integer>, bias: tensor<scalar>,
    grid: integer[], padded: integer[], shape: integer[] )
    -> ( output: tensor<scalar> )
{
    weight = block_sparse_decode_ragged(values, index, grid = grid, padded = padded, shape = shape);
    output = linear(input, weight, bias);
}
)";

constexpr std::array kFragments{
    DecodeFragment{Decode::grid, "block_sparse_decode", kGrid},
    DecodeFragment{Decode::ragged, "block_sparse_decode_ragged", kRagged},
    DecodeFragment{Decode::parts, "block_sparse_decode_parts", kParts},
    DecodeFragment{Decode::first, "block_sparse_decode_first", kFirst},
    DecodeFragment{Decode::bitmap, "block_sparse_decode_bitmap", kBitmap},
    DecodeFragment{Decode::portable, "block_sparse_decode_portable", kPortable},
    DecodeFragment{Decode::portable_ragged, "block_sparse_decode_portable_ragged", kPortableRagged},
    DecodeFragment{Decode::gather, "block_sparse_decode_gather", kGather},
    DecodeFragment{Decode::diagonal, "stacked_diagonal", kDiagonal},
    DecodeFragment{Decode::diagonal_strip, "stacked_diagonal_strip", kDiagonalStrip},
    DecodeFragment{Decode::matmul, "block_sparse_matmul", kMatmul},
    DecodeFragment{Decode::matmul_ragged, "block_sparse_matmul_ragged", kMatmulRagged},
    DecodeFragment{Decode::matmul_parts, "block_sparse_matmul_parts", kMatmulParts},
    DecodeFragment{Decode::linear, "block_sparse_linear", kLinear},
    DecodeFragment{Decode::linear_ragged, "block_sparse_linear_ragged", kLinearRagged},
};

}  // namespace

std::string DecodeFragment::declaration() const {
  return fmt::format("{};\n", text.substr(0, text.find("\n{\n")));
}

std::span<const DecodeFragment> decode_fragments() { return kFragments; }

const DecodeFragment* find_decode_fragment(std::string_view name) {
  const auto found = std::ranges::find(kFragments, name, &DecodeFragment::name);
  return found == kFragments.end() ? nullptr : &*found;
}

const DecodeFragment& decode_fragment(Decode kind) {
  const auto found = std::ranges::find(kFragments, kind, &DecodeFragment::kind);
  ESPALIER_CHECK(found != kFragments.end());
  return *found;
}

std::optional<Decode> decode_called_by(Decode kind) {
  switch (kind) {
    case Decode::portable_ragged:
      return Decode::portable;
    case Decode::matmul:
    case Decode::linear:
      return Decode::grid;
    case Decode::matmul_ragged:
    case Decode::linear_ragged:
      return Decode::ragged;
    case Decode::matmul_parts:
      return Decode::parts;
    default:
      return std::nullopt;
  }
}

}  // namespace espalier::nnef
