// Transpose, Expand, Tile, Concat, Split, Slice: elements of any type go elsewhere unchanged.

#include <algorithm>

#include "lib/ops/op_util.h"

namespace espalier {
namespace {

std::byte* at(std::byte* bytes, ptrdiff_t elements, size_t width) {
  return bytes + elements * static_cast<ptrdiff_t>(width);
}

// Copies in the new order; where only axes of extent 1 move, the output is an alias of the input.
Run prepare_transpose(const PrepareContext& context) {
  std::optional<Dims> order;
  if (find_attribute(context.node, "perm") != nullptr) {
    order = Dims(ints_attribute(context.node, "perm", {}));
  }
  return [order](RunContext& run) {
    const TensorView& x = run.input(0);
    const size_t rank = x.dims.rank();
    Dims permuted, axes;
    for (size_t i = 0; i < rank; ++i) {
      axes.push_back(order ? (*order)[i] : static_cast<int64_t>(rank - 1 - i));
    }
    if (order && (order->rank() != rank || axes_mask(axes, rank) != (uint64_t{1} << rank) - 1)) {
      fail("perm {} does not permute the axes of {}", to_string(*order), to_string(x.dims));
    }
    const Strides own = row_major(x.dims);
    Strides from{};
    size_t moved = 0, last = 0;  // axes longer than 1 that change their order
    for (size_t i = 0; i < rank; ++i) {
      const auto axis = static_cast<size_t>(axes[i]);
      permuted.push_back(x.dims[axis]);
      from[i] = own[axis];
      if (x.dims[axis] == 1) continue;
      if (axis < last) ++moved;
      last = axis;
    }
    if (moved == 0) return run.alias(0, 0, permuted);
    const TensorView y = run.output(0, x.dtype, permuted);
    copy_strided(bytes_in_view(x.dtype), permuted, x.bytes, from, y.bytes, row_major(permuted));
  };
}

Run prepare_expand(const PrepareContext&) {
  return [](RunContext& run) {
    const TensorView& x = run.input(0);
    const Dims dims = broadcast(x.dims, ints_of(run.input(1)));
    if (checked_count(dims) == x.count()) return run.alias(0, 0, dims);
    const TensorView y = run.output(0, x.dtype, dims);
    copy_strided(bytes_in_view(x.dtype), dims, x.bytes, broadcast_strides(x.dims, dims), y.bytes,
                 row_major(dims));
  };
}

// Seen as [repeats, extent] pairs, of which the first has stride 0.
Run prepare_tile(const PrepareContext&) {
  return [](RunContext& run) {
    const TensorView& x = run.input(0);
    const Dims repeats = ints_of(run.input(1));
    const size_t rank = x.dims.rank();
    if (repeats.rank() != rank) fail("{} repeats for {}", repeats.rank(), to_string(x.dims));
    Dims dims = x.dims, pairs;
    const Strides own = row_major(x.dims);
    Strides from{};
    for (size_t i = 0; i < rank; ++i) {
      if (repeats[i] < 0) fail("repeats {} are negative", to_string(repeats));
      if (x.dims[i] != 0 && repeats[i] > INT64_MAX / x.dims[i]) fail("repeats are too large");
      dims[i] *= repeats[i];
      if (repeats[i] != 1) pairs.push_back(repeats[i]);
      from[pairs.rank()] = own[i];
      pairs.push_back(x.dims[i]);
    }
    const TensorView y = run.output(0, x.dtype, dims);
    copy_strided(bytes_in_view(x.dtype), pairs, x.bytes, from, y.bytes, row_major(pairs));
  };
}

// Copies each input to its offset along the axis; a single input is an alias.
Run prepare_concat(const PrepareContext& context) {
  return [axis_attribute = int_attribute(context.node, "axis", 1)](RunContext& run) {
    const TensorView& first = run.input(0);
    Dims dims = first.dims;
    const size_t axis = axis_of(axis_attribute, dims.rank());
    for (size_t i = 1; i < run.inputs(); ++i) {
      const TensorView& x = run.input(i);
      Dims same = x.dims;
      if (same.rank() == dims.rank()) same[axis] = dims[axis];
      if (!(same == dims)) fail("{} and {} are joined", to_string(dims), to_string(x.dims));
      if (x.dtype != first.dtype) fail("inputs are of several types");
      dims[axis] += x.dims[axis];
    }
    if (run.inputs() == 1) return run.alias(0, 0, dims);
    const TensorView y = run.output(0, first.dtype, dims);
    const size_t width = bytes_in_view(first.dtype);
    ptrdiff_t place = 0;
    for (size_t i = 0; i < run.inputs(); ++i) {
      const TensorView& x = run.input(i);
      const Strides to = row_major(dims);
      copy_strided(width, x.dims, x.bytes, row_major(x.dims), at(y.bytes, place * to[axis], width),
                   to);
      place += x.dims[axis];
    }
  };
}

std::span<const int64_t> equal_parts(RunContext& run, int64_t extent, int64_t parts) {
  const int64_t size = (extent + parts - 1) / parts;
  const std::span<int64_t> result = scratch_ints(run, static_cast<size_t>(parts));
  for (int64_t i = 0; i < parts; ++i) {
    result[static_cast<size_t>(i)] = std::clamp(extent - i * size, int64_t{0}, size);
  }
  return result;
}

// Sizes come from the attribute, from input 1, or are equal; parts that nobody reads are not
// copied.
Run prepare_split(const PrepareContext& context) {
  const auto fixed = ints_attribute(context.node, "split", {});
  const int64_t axis_attribute = int_attribute(context.node, "axis", 0);
  const auto outputs = static_cast<int64_t>(context.node.outputs.size());
  return [fixed, axis_attribute, outputs](RunContext& run) {
    const TensorView& x = run.input(0);
    const size_t axis = axis_of(axis_attribute, x.dims.rank());
    std::span<const int64_t> sizes = fixed;
    if (run.has_input(1)) sizes = long_ints_of(run, run.input(1));
    if (sizes.empty()) sizes = equal_parts(run, x.dims[axis], outputs);
    int64_t sum = 0;
    for (const int64_t size : sizes) {
      if (size < 0 || size > x.dims[axis]) fail("a part is {} long", size);
      sum += size;
    }
    if (sum != x.dims[axis] || static_cast<int64_t>(sizes.size()) != outputs) {
      fail("{} parts of {} in all for {} outputs of an axis {} long", sizes.size(), sum, outputs,
           x.dims[axis]);
    }
    const Strides from = row_major(x.dims);
    const size_t width = bytes_in_view(x.dtype);
    int64_t place = 0;
    for (size_t i = 0; i < sizes.size(); ++i) {
      Dims dims = x.dims;
      dims[axis] = sizes[i];
      if (run.wants_output(i)) {
        const TensorView y = run.output(i, x.dtype, dims);
        copy_strided(width, dims, at(x.bytes, place * from[axis], width), from, y.bytes,
                     row_major(dims));
      }
      place += sizes[i];
    }
  };
}

// One axis of a slice. Unlike NumPy, a start in front of a backward slice means the first element
// (ONNX, Slice).
struct Range {
  int64_t start, step, count;
};

Range sliced(int64_t extent, int64_t start, int64_t end, int64_t step) {
  if (step == 0) fail("a step of a slice is 0");
  const auto from_end = [extent](int64_t place) { return place < 0 ? place + extent : place; };
  if (step > 0) {
    const int64_t first = std::clamp(from_end(start), int64_t{0}, extent);
    const int64_t last = std::clamp(from_end(end), int64_t{0}, extent);
    const int64_t length = std::max(last - first, int64_t{0});
    return {first, step, length / step + (length % step != 0 ? 1 : 0)};
  }
  if (extent == 0) return {0, step, 0};
  const int64_t first = std::clamp(from_end(start), int64_t{0}, extent - 1);
  const int64_t last = std::clamp(from_end(end), int64_t{-1}, extent - 1);
  const int64_t length = std::max(first - last, int64_t{0});
  const int64_t back = step == INT64_MIN ? INT64_MAX : -step;
  return {first, step, length / back + (length % back != 0 ? 1 : 0)};
}

// Turns starts, ends, axes and steps into an offset and strides, and copies by these; a slice that
// takes all is an alias.
Run prepare_slice(const PrepareContext& context) {
  const IntsOperand starts(context, "starts", 1), ends(context, "ends", 2);
  const IntsOperand axes(context, "axes", 3), steps(context, "steps", 4);
  return [starts, ends, axes, steps](RunContext& run) {
    const TensorView& x = run.input(0);
    const auto first = starts.get(run), last = ends.get(run);
    if (!first || !last) fail("starts or ends are missing");
    const size_t count = first->rank();
    const auto named = axes.get(run), by = steps.get(run);
    const bool equal =
        last->rank() == count && (!named || named->rank() == count) && (!by || by->rank() == count);
    if (!equal || count > x.dims.rank()) fail("starts, ends, axes and steps differ in length");
    if (named) axes_mask(*named, x.dims.rank());
    Dims dims = x.dims;
    Strides from = row_major(x.dims);
    ptrdiff_t offset = 0;
    for (size_t i = 0; i < count; ++i) {
      const size_t axis = named ? axis_of((*named)[i], dims.rank()) : i;
      const Range range = sliced(x.dims[axis], (*first)[i], (*last)[i], by ? (*by)[i] : 1);
      dims[axis] = range.count;
      if (range.count == 0) continue;
      offset += range.start * from[axis];
      // A single element has no neighbour, whatever its step is.
      if (range.count > 1) from[axis] *= range.step;
    }
    if (dims == x.dims && offset == 0) return run.alias(0, 0, dims);
    const TensorView y = run.output(0, x.dtype, dims);
    const size_t width = bytes_in_view(x.dtype);
    copy_strided(width, dims, at(x.bytes, offset, width), from, y.bytes, row_major(dims));
  };
}

// Lower or upper triangle of the last two axes; the rest is 0.
Run prepare_trilu(const PrepareContext& context) {
  return [upper = int_attribute(context.node, "upper", 1) != 0](RunContext& run) {
    const TensorView& x = run.input(0);
    const size_t rank = x.dims.rank();
    if (rank < 2) fail("shape is {}, expected two axes", to_string(x.dims));
    const auto k = run.has_input(1) ? static_cast<int64_t>(scalar_of(run.input(1))) : 0;
    const TensorView y = run.output(0, x.dtype, x.dims);
    const int64_t rows = x.dims[rank - 2], columns = x.dims[rank - 1];
    const size_t width = bytes_in_view(x.dtype), matrices = x.dims.product(0, rank - 2);
    std::fill_n(y.bytes, y.count() * width, std::byte{0});
    for (size_t matrix = 0; matrix < matrices; ++matrix) {
      for (int64_t row = 0; row < rows; ++row) {
        const int64_t edge =
            std::clamp(k > columns ? columns : (k < -rows ? -rows : k) + row + (upper ? 0 : 1),
                       int64_t{0}, columns);
        const int64_t begin = upper ? edge : 0, end = upper ? columns : edge;
        const ptrdiff_t place = (static_cast<ptrdiff_t>(matrix) * rows + row) * columns + begin;
        std::copy_n(at(x.bytes, place, width), static_cast<size_t>(end - begin) * width,
                    at(y.bytes, place, width));
      }
    }
  };
}

// [N, C, H, W] with blocks of channels spread over the plane, or back.
Run prepare_depth_to_space(const PrepareContext& context) {
  const int64_t block = int_attribute(context.node, "blocksize", 0);
  const bool columns_first = string_attribute(context.node, "mode", "DCR") == "DCR";
  if (block < 1) fail("blocksize is {}", block);
  return [block, columns_first](RunContext& run) {
    const TensorView& x = run.input(0);
    if (x.dims.rank() != 4 || block > 1 << 20 || x.dims[1] % (block * block) != 0) {
      fail("shape {} is not divisible by blocksize {}", to_string(x.dims), block);
    }
    const int64_t n = x.dims[0], c = x.dims[1] / (block * block), h = x.dims[2], w = x.dims[3];
    const TensorView y = run.output(0, x.dtype, {n, c, h * block, w * block});
    const Dims split =
        columns_first ? Dims{n, block, block, c, h, w} : Dims{n, c, block, block, h, w};
    const Strides own = row_major(split);
    const Strides from = columns_first ? Strides{own[0], own[3], own[4], own[1], own[5], own[2]}
                                       : Strides{own[0], own[1], own[4], own[2], own[5], own[3]};
    const Dims walked{n, c, h, block, w, block};
    copy_strided(bytes_in_view(x.dtype), walked, x.bytes, from, y.bytes, row_major(walked));
  };
}

Run prepare_space_to_depth(const PrepareContext& context) {
  const int64_t block = int_attribute(context.node, "blocksize", 0);
  const bool columns_first = string_attribute(context.node, "mode", "DCR") == "DCR";
  if (block < 1) fail("blocksize is {}", block);
  return [block, columns_first](RunContext& run) {
    const TensorView& x = run.input(0);
    if (x.dims.rank() != 4 || block > 1 << 20 || x.dims[2] % block != 0 || x.dims[3] % block != 0) {
      fail("shape {} is not divisible by blocksize {}", to_string(x.dims), block);
    }
    const int64_t n = x.dims[0], c = x.dims[1], h = x.dims[2] / block, w = x.dims[3] / block;
    const TensorView y = run.output(0, x.dtype, {n, c * block * block, h, w});
    const Strides own = row_major({n, c, h, block, w, block});
    const Strides from = columns_first ? Strides{own[0], own[3], own[5], own[1], own[2], own[4]}
                                       : Strides{own[0], own[1], own[3], own[5], own[2], own[4]};
    const Dims walked =
        columns_first ? Dims{n, block, block, c, h, w} : Dims{n, c, block, block, h, w};
    copy_strided(bytes_in_view(x.dtype), walked, x.bytes, from, y.bytes, row_major(walked));
  };
}

}  // namespace

constinit const Operator transpose_operator{.name = "Transpose", .prepare = prepare_transpose};
constinit const Operator expand_operator{.name = "Expand", .prepare = prepare_expand};
constinit const Operator tile_operator{.name = "Tile", .prepare = prepare_tile};
constinit const Operator concat_operator{.name = "Concat", .prepare = prepare_concat};
constinit const Operator split_operator{.name = "Split", .prepare = prepare_split};
constinit const Operator slice_operator{.name = "Slice", .prepare = prepare_slice};
constinit const Operator trilu_operator{.name = "Trilu", .prepare = prepare_trilu};
constinit const Operator depth_to_space_operator{.name = "DepthToSpace",
                                                 .prepare = prepare_depth_to_space};
constinit const Operator space_to_depth_operator{.name = "SpaceToDepth",
                                                 .prepare = prepare_space_to_depth};

}  // namespace espalier
