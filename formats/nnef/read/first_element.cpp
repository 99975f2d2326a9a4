#include "formats/nnef/read/first_element.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/nnef/read/block_grid.h"
#include "formats/nnef/read/decode_arguments.h"
#include "lib/base/checked_math.h"
#include "lib/base/error.h"
#include "lib/sparse/pack.h"

namespace espalier::nnef {
namespace {

// Elements of one row of the weight. The second row of offsets tells. Blocks of one row leave it to
// the weight's shape: what follows the first extent that is not 1 (that counts outputs), or more
// where blocks do not fit into that.
int64_t row_length(const std::vector<int64_t>& offsets, BlockShape block, const Shape& shape,
                   const std::vector<int64_t>& first) {
  if (block.rows > 1) return offsets[block.cols];
  const int64_t width = block.cols;
  const auto fits = [&](int64_t length) {
    return length >= width && std::ranges::all_of(first, [&](int64_t place) {
             return place % length + width <= length;
           });
  };
  auto from = std::ranges::find_if(shape, [](int64_t extent) { return extent != 1; });
  if (from != shape.end()) ++from;
  for (;; --from) {
    const auto length = static_cast<int64_t>(element_count(Shape(from, shape.end())));
    if (from == shape.begin() || fits(length)) return length;
  }
}

void check_offsets(const Call& call, const std::vector<int64_t>& offsets, BlockShape block,
                   int64_t length) {
  for (size_t i = 0; i < offsets.size(); ++i) {
    const auto r = static_cast<int64_t>(i / block.cols), c = static_cast<int64_t>(i % block.cols);
    if (length < 1 || checked_mul(r, length).value_or(-1) != offsets[i] - c) {
      call.fail("offsets are not those of a block");
    }
  }
}

// Blocks that lie anywhere: the dense weight, packed anew in the smallest way.
EvalValue off_grid(const Call& call, std::string name, const Tensor& values, const Grid& grid,
                   const std::vector<int64_t>& first) {
  const size_t elements = grid.fold.count();
  if (elements > kMaxCopied) {
    throw Error(
        Fault::kUnsupported,
        fmt::format("blocks off the grid in a weight of more than {} elements", kMaxCopied));
  }
  Tensor dense = Tensor::zeros(DType::kF32, grid.shape);
  std::vector<bool> taken(elements);
  const std::vector<float> flat = to_f32(values);
  const std::span<float> out = dense.mutable_data<float>();
  for (size_t i = 0; i < flat.size(); ++i) {
    const size_t within = i % grid.block.area();
    const size_t place = static_cast<size_t>(first[i / grid.block.area()]) +
                         within / grid.block.cols * grid.fold.cols + within % grid.block.cols;
    if (taken[place]) call.fail(fmt::format("element {} is in two blocks", place));
    taken[place] = true;
    out[place] = flat[i];
  }
  if (std::optional<SparseMatrix> packed = pack_smallest(dense, grid.fold, grid.block)) {
    return packed_weight(std::move(name), *std::move(packed));
  }
  const bool has_label = !name.empty();
  const ConstantPtr constant = make_constant(std::move(name), std::move(dense));
  constant->has_label = has_label;
  return EvalValue::of_tensor({kNoValue, constant});
}

}  // namespace

// Turns first elements into rows and columns. Blocks whose corners are all multiples of the block
// go on a grid, others are packed anew.
EvalValue decode_first(const Call& call) {
  const Tensor values = block_values(call);
  const Constant& index = constant_argument(call, "index");
  const Constant& offsets = constant_argument(call, "offsets");
  const Shape& extents = values.shape();
  expect_shape(call, "index", index.shape, {extents[0]});
  expect_shape(call, "offsets", offsets.shape, {extents[1], extents[2]});
  const auto count = static_cast<int64_t>(values.count());
  expect_shape(call, "count", call.integers("count"), {count});
  expect_shape(call, "places", call.integers("places"), {count, 1});
  Grid grid;
  grid.block = block_shape(call, extents[1], extents[2]);
  grid.shape = call.integers("shape");
  const std::vector<int64_t> size = integers(call, "size", 1);
  const auto elements = static_cast<size_t>(size[0]);
  grid.fold = {1, 1, elements, false};
  check_grid(call, grid);
  const std::vector<int64_t> first = index_values(call, index), steps = index_values(call, offsets);
  const int64_t cols = row_length(steps, grid.block, grid.shape, first);
  check_offsets(call, steps, grid.block, cols);
  if (size[0] % cols != 0) call.fail("offsets do not fit the weight's rows");
  grid.fold = {1, elements / static_cast<size_t>(cols), static_cast<size_t>(cols), false};
  grid.rows = ceil_div(grid.fold.rows, grid.block.rows);
  grid.cols = ceil_div(grid.fold.cols, grid.block.cols);

  std::vector<int64_t> pairs;
  bool aligned = true;
  for (size_t i = 0; i < first.size(); ++i) {
    const int64_t row = first[i] / cols, col = first[i] % cols;
    const bool inside = first[i] >= 0 && col + extents[2] <= cols &&
                        static_cast<size_t>(row + extents[1]) <= grid.fold.rows;
    if (!inside)
      call.fail(fmt::format("index {} is {}: its block exceeds the weight", i, first[i]));
    aligned = aligned && row % extents[1] == 0 && col % extents[2] == 0;
    pairs.push_back(row / extents[1]);
    pairs.push_back(col / extents[2]);
  }
  std::string name = weight_name(call, "index");
  if (!aligned) return off_grid(call, std::move(name), values, grid, first);
  return packed_weight(std::move(name), on_grid(call, grid, values, pairs));
}

}  // namespace espalier::nnef
