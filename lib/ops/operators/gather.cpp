// Gather, GatherElements, GatherND, Scatter, ScatterElements, ScatterND: elements picked and
// placed by index.

#include <algorithm>
#include <cstring>

#include "lib/ops/op_util.h"

namespace espalier {
namespace {

// Reads an index of either integer type and counts it from the front.
class Indices {
 public:
  explicit Indices(const TensorView& view) : view_(view) {
    if (view.dtype != DType::kI64 && view.dtype != DType::kI32) unsupported_type(view.dtype);
  }
  size_t at(size_t place, int64_t extent) const {
    const int64_t index =
        view_.dtype == DType::kI64 ? view_.data<int64_t>()[place] : view_.data<int32_t>()[place];
    if (index < -extent || index >= extent) fail("index {} of an axis {} long", index, extent);
    return static_cast<size_t>(index < 0 ? index + extent : index);
  }

 private:
  const TensorView& view_;
};

Run prepare_gather(const PrepareContext& context) {
  return [axis_attribute = int_attribute(context.node, "axis", 0)](RunContext& run) {
    const TensorView &x = run.input(0), &index = run.input(1);
    const size_t rank = x.dims.rank(), axis = axis_of(axis_attribute, rank);
    Dims dims;
    for (size_t i = 0; i < axis; ++i) dims.push_back(x.dims[i]);
    for (const int64_t extent : index.dims) dims.push_back(extent);
    for (size_t i = axis + 1; i < rank; ++i) dims.push_back(x.dims[i]);
    const TensorView y = run.output(0, x.dtype, dims);
    const Indices indices(index);
    const size_t piece = x.dims.product(axis + 1, rank) * bytes_in_view(x.dtype);
    const size_t outer = x.dims.product(0, axis), count = index.count();
    const size_t extent = static_cast<size_t>(x.dims[axis]);
    std::byte* to = y.bytes;
    for (size_t o = 0; o < outer; ++o) {
      for (size_t i = 0; i < count; ++i, to += piece) {
        std::memcpy(to, x.bytes + (o * extent + indices.at(i, x.dims[axis])) * piece, piece);
      }
    }
  };
}

// Calls visit(place in the indices, element of x) where x is walked as `index` but for `axis`.
template <typename Visit>
void walk_elements(const TensorView& x, const TensorView& index, size_t axis, const Visit& visit) {
  const size_t rank = x.dims.rank();
  if (index.dims.rank() != rank) {
    fail("indices of shape {} for {}", to_string(index.dims), to_string(x.dims));
  }
  for (size_t i = 0; i < rank; ++i) {
    if (i != axis && index.dims[i] > x.dims[i]) {
      fail("indices of shape {} for {}", to_string(index.dims), to_string(x.dims));
    }
  }
  const Indices indices(index);
  const Strides own = row_major(x.dims);
  const size_t count = index.count();
  for (size_t place = 0; place < count; ++place) {
    size_t rest = place;
    ptrdiff_t element = 0;
    for (size_t i = rank; i-- > 0;) {
      const auto extent = static_cast<size_t>(index.dims[i]);
      const size_t at = i == axis ? indices.at(place, x.dims[i]) : rest % extent;
      element += static_cast<ptrdiff_t>(at) * own[i];
      rest /= extent;
    }
    visit(place, static_cast<size_t>(element));
  }
}

Run prepare_gather_elements(const PrepareContext& context) {
  return [axis_attribute = int_attribute(context.node, "axis", 0)](RunContext& run) {
    const TensorView &x = run.input(0), &index = run.input(1);
    const size_t axis = axis_of(axis_attribute, x.dims.rank()), width = bytes_in_view(x.dtype);
    const TensorView y = run.output(0, x.dtype, index.dims);
    walk_elements(x, index, axis, [&](size_t place, size_t element) {
      std::memcpy(y.bytes + place * width, x.bytes + element * width, width);
    });
  };
}

// Reductions of the scatter operators.
enum class Into { kReplace, kAdd, kMultiply, kMax, kMin };

Into into_of(const PrepareContext& context) {
  const std::string name = string_attribute(context.node, "reduction", "none");
  if (name == "none") return Into::kReplace;
  if (name == "add") return Into::kAdd;
  if (name == "mul") return Into::kMultiply;
  if (name == "max") return Into::kMax;
  if (name == "min") return Into::kMin;
  unsupported("reduction {} is not supported", printable(name));
}

template <typename T>
T reduced(Into into, T old, T update) {
  switch (into) {
    case Into::kAdd:
      return static_cast<T>(old + update);
    case Into::kMultiply:
      return static_cast<T>(old * update);
    case Into::kMax:
      return std::max(old, update);
    case Into::kMin:
      return std::min(old, update);
    default:
      return update;
  }
}

// `count` elements from `from` into `to`.
void put(Into into, DType dtype, const std::byte* from, std::byte* to, size_t count) {
  if (into == Into::kReplace) {
    std::memcpy(to, from, count * bytes_in_view(dtype));
    return;
  }
  const auto combine = [&](auto zero) {
    using T = decltype(zero);
    const auto* updates = reinterpret_cast<const T*>(from);
    auto* values = reinterpret_cast<T*>(to);
    for (size_t i = 0; i < count; ++i) values[i] = reduced(into, values[i], updates[i]);
  };
  switch (dtype) {
    case DType::kF32:
      return combine(float{});
    case DType::kF64:
      return combine(double{});
    case DType::kI32:  // wraps around
      return combine(uint32_t{});
    case DType::kI64:
      return combine(uint64_t{});
    default:
      unsupported_type(dtype);
  }
}

// Unsigned comparison would be wrong for negative integers.
void check_reduction(Into into, DType dtype) {
  if ((into == Into::kMax || into == Into::kMin) && !is_float(dtype)) unsupported_type(dtype);
}

TensorView copy_to_output(RunContext& run) {
  const TensorView& x = run.input(0);
  const TensorView y = run.output(0, x.dtype, x.dims);
  std::memcpy(y.bytes, x.bytes, x.count() * bytes_in_view(x.dtype));
  return y;
}

Run prepare_scatter_elements(const PrepareContext& context) {
  const int64_t axis_attribute = int_attribute(context.node, "axis", 0);
  return [axis_attribute, into = into_of(context)](RunContext& run) {
    const TensorView &index = run.input(1), &updates = run.input(2);
    const DType dtype = run.input(0).dtype;
    check_reduction(into, dtype);
    if (!(index.dims == updates.dims) || updates.dtype != dtype) {
      fail("indices {} and updates {} differ", to_string(index.dims), to_string(updates.dims));
    }
    const size_t axis = axis_of(axis_attribute, run.input(0).dims.rank()),
                 width = bytes_in_view(dtype);
    const TensorView y = copy_to_output(run);
    walk_elements(y, index, axis, [&](size_t place, size_t element) {
      put(into, dtype, updates.bytes + place * width, y.bytes + element * width, 1);
    });
  };
}

// How the last axis of the indices of GatherND and ScatterND points into `x`.
struct Pointers {
  size_t batch_axes, depth, count, piece;  // count: of all pointers; piece: elements at each

  Pointers(const Dims& x, const Dims& index, size_t batch_axes) : batch_axes(batch_axes) {
    const size_t rank = index.rank();
    if (rank == 0 || batch_axes >= rank || batch_axes > x.rank()) {
      fail("indices of shape {} for {}", to_string(index), to_string(x));
    }
    for (size_t i = 0; i < batch_axes; ++i) {
      if (index[i] != x[i])
        fail("batch extents of {} and {} differ", to_string(index), to_string(x));
    }
    const int64_t last = index[rank - 1];
    if (last < 1 || static_cast<size_t>(last) > x.rank() - batch_axes) {
      fail("indices of shape {} for {}", to_string(index), to_string(x));
    }
    depth = static_cast<size_t>(last);
    count = index.product(0, rank - 1);
    piece = x.product(batch_axes + depth, x.rank());
  }

  // First element of x at pointer number `pointer`.
  size_t element(const Dims& x, const Indices& indices, const Dims& index, size_t pointer) const {
    const size_t per_batch = index.product(batch_axes, index.rank() - 1);
    size_t element = per_batch == 0 ? 0 : pointer / per_batch;
    for (size_t i = 0; i < depth; ++i) {
      const int64_t extent = x[batch_axes + i];
      element = element * static_cast<size_t>(extent) + indices.at(pointer * depth + i, extent);
    }
    return element * piece;
  }
};

Run prepare_gather_nd(const PrepareContext& context) {
  const int64_t batch_axes = int_attribute(context.node, "batch_dims", 0);
  if (batch_axes < 0) fail("batch_dims is {}", batch_axes);
  return [batch_axes](RunContext& run) {
    const TensorView &x = run.input(0), &index = run.input(1);
    const Pointers pointers(x.dims, index.dims, static_cast<size_t>(batch_axes));
    Dims dims;
    for (size_t i = 0; i + 1 < index.dims.rank(); ++i) dims.push_back(index.dims[i]);
    for (size_t i = pointers.batch_axes + pointers.depth; i < x.dims.rank(); ++i) {
      dims.push_back(x.dims[i]);
    }
    const TensorView y = run.output(0, x.dtype, dims);
    const Indices indices(index);
    const size_t width = bytes_in_view(x.dtype), bytes = pointers.piece * width;
    for (size_t i = 0; i < pointers.count; ++i) {
      std::memcpy(y.bytes + i * bytes,
                  x.bytes + pointers.element(x.dims, indices, index.dims, i) * width, bytes);
    }
  };
}

Run prepare_scatter_nd(const PrepareContext& context) {
  return [into = into_of(context)](RunContext& run) {
    const TensorView &x = run.input(0), &index = run.input(1), &updates = run.input(2);
    check_reduction(into, x.dtype);
    const Pointers pointers(x.dims, index.dims, 0);
    if (updates.count() != pointers.count * pointers.piece || updates.dtype != x.dtype) {
      fail("updates of shape {} for indices {} into {}", to_string(updates.dims),
           to_string(index.dims), to_string(x.dims));
    }
    const TensorView y = copy_to_output(run);
    const Indices indices(index);
    const size_t width = bytes_in_view(x.dtype), bytes = pointers.piece * width;
    for (size_t i = 0; i < pointers.count; ++i) {
      put(into, x.dtype, updates.bytes + i * bytes,
          y.bytes + pointers.element(x.dims, indices, index.dims, i) * width, pointers.piece);
    }
  };
}

}  // namespace

constinit const Operator gather_operator{.name = "Gather", .prepare = prepare_gather};
constinit const Operator gather_elements_operator{.name = "GatherElements",
                                                  .prepare = prepare_gather_elements};
constinit const Operator gather_nd_operator{.name = "GatherND", .prepare = prepare_gather_nd};
// Until opset 11 the name of ScatterElements, which had no reduction then.
constinit const Operator scatter_operator{.name = "Scatter", .prepare = prepare_scatter_elements};
constinit const Operator scatter_elements_operator{.name = "ScatterElements",
                                                   .prepare = prepare_scatter_elements};
constinit const Operator scatter_nd_operator{.name = "ScatterND", .prepare = prepare_scatter_nd};

}  // namespace espalier
