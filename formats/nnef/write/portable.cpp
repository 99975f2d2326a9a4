// The decode of profile portable: one-hot matrices say where each block stands, a matrix product
// puts it there. Strips of the weight, so that what is made on the way stays small.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "formats/nnef/write/packed.h"
#include "formats/nnef/write/strips.h"
#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

// What the fragment makes on the way: `placed` [R * br * bc, N], `in_col` [N, C] and `tiles`
// [R * br * bc, C]; `in_row` [R, N] is smaller than `placed`.
bool fits(const Strip& strip, size_t blocks, size_t area) {
  const size_t wide = strip.rows() * area;
  return wide * blocks <= kFoldedItems && blocks * strip.cols() <= kFoldedItems &&
         wide * strip.cols() <= kFoldedItems;
}

// Block columns of a strip. Strips are largest where `placed` and `in_col` are of one size: with C
// = R * area, R * area * N = N * C, and N = density * R * C, C^3 = limit * area / density. A block
// row that is full of blocks must fit too.
size_t strip_cols(const SparseMatrix& matrix) {
  const size_t cols = matrix.grid_cols(), area = matrix.block.area();
  const double places = static_cast<double>(matrix.fold.parts * matrix.grid_rows() * cols);
  const double density = std::max(1.0, static_cast<double>(matrix.blocks())) / places;
  const double best = std::cbrt(static_cast<double>(kFoldedItems * area) / density);
  const auto row = static_cast<size_t>(std::sqrt(static_cast<double>(kFoldedItems)));
  const size_t most = std::max<size_t>(1, std::min(row, kFoldedItems / area));
  const size_t wanted = std::clamp<size_t>(static_cast<size_t>(best), 1, most);
  return ceil_div(cols, ceil_div(cols, wanted));
}

// Strips beside each other, from `top` on, with as many block rows as fit, up to `end`.
std::vector<Strip> strips_at(const SparseMatrix& matrix, size_t top, size_t end) {
  const size_t cols = matrix.grid_cols();
  std::vector<Strip> result;
  const Strip whole{top, end, 0, cols};
  const size_t area = matrix.block.area();
  if (fits(whole, 0, area) && fits(whole, blocks_of(matrix, whole), area)) return {whole};
  const size_t width = strip_cols(matrix);
  for (size_t left = 0; left < cols; left += width) {
    result.push_back({top, top + 1, left, std::min(cols, left + width)});
  }
  std::vector<size_t> blocks;
  for (const Strip& strip : result) blocks.push_back(blocks_of(matrix, strip));
  while (result[0].bottom < end) {
    bool all_fit = true;
    for (size_t i = 0; i < result.size(); ++i) {
      Strip& strip = result[i];
      blocks[i] += blocks_of(matrix, {strip.bottom, strip.bottom + 1, strip.left, strip.right});
      ++strip.bottom;
      all_fit = all_fit && fits(strip, blocks[i], area);
    }
    if (all_fit) continue;
    for (Strip& strip : result) --strip.bottom;
    break;
  }
  return result;
}

// Rows of strips from top to bottom. A part whose edge is ragged ends its strips.
StripRows strips_of(const SparseMatrix& matrix) {
  const size_t rows = matrix.fold.parts * matrix.grid_rows();
  const bool whole_parts = matrix.fold.rows % matrix.block.rows == 0;
  StripRows result;
  for (size_t top = 0; top < rows; top = result.back()[0].bottom) {
    const size_t end = whole_parts ? rows : (top / matrix.grid_rows() + 1) * matrix.grid_rows();
    result.push_back(strips_at(matrix, top, end));
  }
  return result;
}

Tensor strip_index(const SparseMatrix& matrix, const Strip& strip, size_t blocks) {
  std::vector<float> pairs;
  for_each_block(matrix, strip, [&](size_t, size_t row, size_t col) {
    pairs.push_back(static_cast<float>(row));
    pairs.push_back(static_cast<float>(col));
  });
  if (pairs.empty()) pairs = {static_cast<float>(strip.rows()), static_cast<float>(strip.cols())};
  return Tensor::of<float>({static_cast<int64_t>(blocks), 2}, std::span<const float>(pairs));
}

// One strip as a matrix, or as `shape` where that is the whole weight.
Wire write_strip(const WeightWriter& w, const std::string& label, const SparseMatrix& matrix,
                 const Strip& strip, const Shape& shape) {
  const size_t blocks = std::max<size_t>(1, blocks_of(matrix, strip));
  const auto [br, bc] = matrix.block;
  const Wire values =
      w.part("values", label, matrix.values.dtype(), {static_cast<int64_t>(blocks), br, bc},
             [&matrix, strip, blocks] { return strip_values(matrix, strip, blocks); });
  const Wire index =
      w.part("index", label, DType::kF32, {static_cast<int64_t>(blocks), 2},
             [&matrix, strip, blocks] { return strip_index(matrix, strip, blocks); });
  const auto rows = static_cast<int64_t>(strip.rows()), cols = static_cast<int64_t>(strip.cols());
  const std::string row_ids = count_up(w, "row_ids", {rows, 1}).id;
  const std::string col_ids = count_up(w, "col_ids", {1, cols}).id;
  const Shape padded{rows * br, cols * bc};
  const bool ragged = inside(matrix, strip) != padded;
  const Decode kind = ragged ? Decode::portable_ragged : Decode::portable;
  w.use(kind);
  return w.step(
      "decoded",
      fmt::format("{}({}, {}, {}, {}, flat = [{}, {}], cells = [{}, {}, {}, {}]{}, shape = {})",
                  decode_fragment(kind).name, values.id, index.id, row_ids, col_ids,
                  strip.rows() * matrix.block.area(), blocks, rows, br, bc, cols,
                  ragged ? fmt::format(", padded = {}", list(padded)) : "", list(shape)),
      shape);
}

}  // namespace

// One variable per strip that the standard's operators can decode; strips are joined to rows, rows
// to the weight.
Wire write_portable(const WeightWriter& w, const std::string& label, const SparseMatrix& matrix,
                    const Shape& shape) {
  if (matrix.values.dtype() == DType::kI8) {
    throw Error(Fault::kUnsupported,
                "profile portable stores no packed values of type i8 (NNEF's standard has no "
                "cast), expected f32 or f16");
  }
  const auto is_finite = [](float value) { return std::isfinite(value); };
  if (!std::ranges::all_of(to_f32(matrix.values), is_finite)) {
    throw Error(Fault::kUnsupported,
                "profile portable multiplies values by 0 and 1, but one of them is not finite");
  }
  const StripRows strips = strips_of(matrix);
  if (strips.size() == 1 && strips[0].size() == 1) {
    const Strip& whole = strips[0][0];
    const bool flat = shape == inside(matrix, whole);
    const bool ragged = is_ragged(matrix);
    const Wire wire =
        write_strip(w, label, matrix, whole, ragged && !flat ? inside(matrix, whole) : shape);
    if (!ragged || flat) return wire;
    return w.step("shaped", fmt::format("reshape({}, shape = {})", wire.id, list(shape)), shape);
  }
  return write_strips(w, label, matrix, shape, strips,
                      [&](const std::string& name, const Strip& strip) {
                        return write_strip(w, name, matrix, strip, inside(matrix, strip));
                      });
}

}  // namespace espalier::nnef
