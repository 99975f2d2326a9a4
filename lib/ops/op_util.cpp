#include "lib/ops/op_util.h"

#include <algorithm>
#include <cstring>

#include "lib/base/checked_math.h"

namespace espalier {

void unsupported_type(DType dtype) {
  unsupported("values of type {} are not supported", name_of(dtype));
}

std::string to_string(const Dims& dims) { return to_string(dims.shape()); }

size_t checked_count(const Dims& dims) {
  constexpr size_t kLimit = size_t{1} << 62;
  size_t count = 1;
  bool zero = false;
  for (const int64_t extent : dims) {
    if (extent < 0) fail("shape {} has a negative extent", to_string(dims));
    if (extent == 0) {
      zero = true;
      continue;
    }
    const auto product = checked_mul(count, static_cast<size_t>(extent));
    if (!product || *product > kLimit) fail("shape {} is too large", to_string(dims));
    count = *product;
  }
  return zero ? 0 : count;
}

size_t axis_of(int64_t axis, size_t rank) {
  const auto signed_rank = static_cast<int64_t>(rank);
  if (axis < -signed_rank || axis >= signed_rank) {
    fail("axis is {}, expected {} to {}", axis, -signed_rank, signed_rank - 1);
  }
  return static_cast<size_t>(axis < 0 ? axis + signed_rank : axis);
}

uint64_t axes_mask(const Dims& axes, size_t rank) {
  uint64_t mask = 0;
  for (const int64_t axis : axes) {
    const uint64_t bit = uint64_t{1} << axis_of(axis, rank);
    if ((mask & bit) != 0) fail("axis {} is named twice", axis);
    mask |= bit;
  }
  return mask;
}

Dims broadcast(const Dims& a, const Dims& b) {
  const Dims& longer = a.rank() >= b.rank() ? a : b;
  const Dims& shorter = a.rank() >= b.rank() ? b : a;
  Dims result = longer;
  const size_t shift = longer.rank() - shorter.rank();
  for (size_t i = 0; i < shorter.rank(); ++i) {
    const int64_t extent = shorter[i];
    int64_t& into = result[shift + i];
    if (extent == into || extent == 1) continue;
    if (into != 1) fail("shapes {} and {} do not broadcast", to_string(a), to_string(b));
    into = extent;
  }
  return result;
}

Strides row_major(const Dims& dims) {
  Strides strides{};
  ptrdiff_t stride = 1;
  for (size_t i = dims.rank(); i-- > 0;) {
    strides[i] = stride;
    stride *= dims[i];
  }
  return strides;
}

Strides broadcast_strides(const Dims& dims, const Dims& out) {
  const Strides own = row_major(dims);
  Strides strides{};
  const size_t shift = out.rank() - dims.rank();
  for (size_t i = 0; i < dims.rank(); ++i) {
    strides[shift + i] = dims[i] == 1 && out[shift + i] != 1 ? 0 : own[i];
  }
  return strides;
}

const float* f32_of(const RunContext& context, size_t input) {
  const TensorView& view = context.input(input);
  if (view.dtype != DType::kF32) unsupported_type(view.dtype);
  ESPALIER_CHECK(view.bytes != nullptr || view.count() == 0);  // else prepare() replaced it
  return view.data<float>();
}

float* f32_output(RunContext& context, size_t index, const Dims& dims) {
  return context.output(index, DType::kF32, dims).data<float>();
}

namespace {

void read_ints(const TensorView& view, std::span<int64_t> result) {
  const bool known = with_number(view.dtype, [&](auto zero) {
    using T = decltype(zero);
    for (size_t i = 0; i < result.size(); ++i) {
      result[i] = static_cast<int64_t>(view.data<T>()[i]);
    }
  });
  if (!known || is_float(view.dtype)) unsupported_type(view.dtype);
}

}  // namespace

std::vector<int64_t> long_ints_of(const TensorView& view) {
  std::vector<int64_t> result(view.count());
  read_ints(view, result);
  return result;
}

std::span<const int64_t> long_ints_of(RunContext& run, const TensorView& view) {
  const std::span<int64_t> result = scratch_ints(run, view.count());
  read_ints(view, result);
  return result;
}

std::span<int64_t> scratch_ints(RunContext& run, size_t count) {
  return {reinterpret_cast<int64_t*>(run.scratch(count * sizeof(int64_t))), count};
}

Dims ints_of(const TensorView& view) {
  if (view.dims.rank() > 1) fail("a list of integers has shape {}", to_string(view.dims));
  if (view.dtype != DType::kI64 && view.dtype != DType::kI32) unsupported_type(view.dtype);
  Dims result;
  const size_t count = view.count();
  for (size_t i = 0; i < count; ++i) {
    result.push_back(view.dtype == DType::kI64 ? view.data<int64_t>()[i] : view.data<int32_t>()[i]);
  }
  return result;
}

double scalar_of(const TensorView& view) {
  if (view.count() != 1) fail("expected one value, found shape {}", to_string(view.dims));
  double result = 0;
  const bool known = with_number(
      view.dtype, [&](auto zero) { result = static_cast<double>(*view.data<decltype(zero)>()); });
  if (!known) unsupported_type(view.dtype);
  return result;
}

IntsOperand::IntsOperand(const PrepareContext& context, const char* attribute, size_t input)
    : input_(input) {
  const Attribute* found = find_attribute(context.node, attribute);
  if (found == nullptr) return;
  attribute_ = Dims(ints_attribute(context.node, attribute, {}));
}

std::optional<Dims> IntsOperand::get(const RunContext& context) const {
  if (attribute_) return attribute_;
  if (!context.has_input(input_)) return std::nullopt;
  return ints_of(context.input(input_));
}

namespace {

// Extents and strides with axes of extent 1 dropped and neighbours merged that are walked as one.
struct CopyLoop {
  size_t rank = 0;
  std::array<size_t, Dims::kMaxRank> extent{};
  Strides from{}, to{};

  CopyLoop(const Dims& dims, const Strides& from_strides, const Strides& to_strides) {
    for (size_t i = 0; i < dims.rank(); ++i) {
      if (dims[i] == 1) continue;
      const auto length = static_cast<ptrdiff_t>(dims[i]);
      if (rank != 0 && from[rank - 1] == length * from_strides[i] &&
          to[rank - 1] == length * to_strides[i]) {
        extent[rank - 1] *= static_cast<size_t>(length);
        from[rank - 1] = from_strides[i];
        to[rank - 1] = to_strides[i];
      } else {
        extent[rank] = static_cast<size_t>(length);
        from[rank] = from_strides[i];
        to[rank] = to_strides[i];
        ++rank;
      }
    }
  }
};

struct Wide {
  std::byte bytes[16];
};

template <typename T>
void copy_line(size_t count, const T* from, ptrdiff_t from_stride, T* to, ptrdiff_t to_stride) {
  if (from_stride == 1 && to_stride == 1) {
    std::memcpy(to, from, count * sizeof(T));
  } else if (from_stride == 0 && to_stride == 1) {
    std::fill_n(to, count, *from);
  } else {
    for (size_t i = 0; i < count; ++i) {
      to[static_cast<ptrdiff_t>(i) * to_stride] = from[static_cast<ptrdiff_t>(i) * from_stride];
    }
  }
}

// A matrix whose rows are read along one axis and written along the other, in tiles that stay in
// the cache.
template <typename T>
void copy_plane(const CopyLoop& loop, const T* from, T* to) {
  constexpr size_t kTile = 32;
  const size_t outer = loop.rank - 2, inner = loop.rank - 1;
  for (size_t i0 = 0; i0 < loop.extent[outer]; i0 += kTile) {
    const size_t i1 = std::min(i0 + kTile, loop.extent[outer]);
    for (size_t j0 = 0; j0 < loop.extent[inner]; j0 += kTile) {
      const size_t columns = std::min(kTile, loop.extent[inner] - j0);
      for (size_t i = i0; i < i1; ++i) {
        const auto row = static_cast<ptrdiff_t>(i), column = static_cast<ptrdiff_t>(j0);
        copy_line(columns, from + row * loop.from[outer] + column * loop.from[inner],
                  loop.from[inner], to + row * loop.to[outer] + column * loop.to[inner],
                  loop.to[inner]);
      }
    }
  }
}

// Copies along the innermost axis, line after line, or along the last two, plane after plane, where
// the source's innermost elements are apart; `at` counts through the axes before them.
template <typename T>
void copy_loop(const CopyLoop& loop, const T* from, T* to) {
  if (loop.rank == 0) {
    *to = *from;
    return;
  }
  if (loop.rank == 1) return copy_line(loop.extent[0], from, loop.from[0], to, loop.to[0]);
  const size_t inner = loop.rank - 1;
  const bool plane = loop.from[inner] != 1 && loop.from[inner] != 0;
  const size_t outer_axes = plane ? loop.rank - 2 : loop.rank - 1;
  std::array<size_t, Dims::kMaxRank> at{};
  while (true) {
    if (plane) {
      copy_plane(loop, from, to);
    } else {
      copy_line(loop.extent[inner], from, loop.from[inner], to, loop.to[inner]);
    }
    size_t axis = outer_axes;
    while (axis-- > 0) {
      from += loop.from[axis];
      to += loop.to[axis];
      if (++at[axis] < loop.extent[axis]) break;
      const auto back = static_cast<ptrdiff_t>(loop.extent[axis]);
      from -= back * loop.from[axis];
      to -= back * loop.to[axis];
      at[axis] = 0;
    }
    if (axis == SIZE_MAX) return;
  }
}

template <typename T>
void copy_as(const CopyLoop& loop, const std::byte* from, std::byte* to) {
  copy_loop(loop, reinterpret_cast<const T*>(from), reinterpret_cast<T*>(to));
}

}  // namespace

void copy_strided(size_t width, const Dims& dims, const std::byte* from,
                  const Strides& from_strides, std::byte* to, const Strides& to_strides) {
  if (checked_count(dims) == 0) return;
  const CopyLoop loop(dims, from_strides, to_strides);
  switch (width) {
    case 1:
      return copy_as<uint8_t>(loop, from, to);
    case 2:
      return copy_as<uint16_t>(loop, from, to);
    case 4:
      return copy_as<uint32_t>(loop, from, to);
    case 8:
      return copy_as<uint64_t>(loop, from, to);
    case 16:
      return copy_as<Wide>(loop, from, to);
    default:
      ESPALIER_CHECK(false);
  }
}

}  // namespace espalier
