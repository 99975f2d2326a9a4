// Operators that look at or change extents, not elements: most of them share their input's memory.

#include <algorithm>
#include <cmath>

#include "lib/ops/op_util.h"

namespace espalier {
namespace {

Run prepare_identity(const PrepareContext&) {
  return [](RunContext& context) { context.alias(0, 0, context.input(0).dims); };
}

// Whether a Dropout is told to draw random numbers.
bool drops(const RunContext& context) {
  if (!context.has_input(2)) return false;
  const TensorView& training = context.input(2);
  if (training.dtype != DType::kBool || training.count() != 1) {
    fail("training_mode is {} {}, expected one bool", name_of(training.dtype),
         to_string(training.dims));
  }
  if (*training.data<uint8_t>() == 0) return false;
  if (!context.has_input(1)) return true;  // a ratio of 0.5
  const TensorView& ratio = context.input(1);
  if (ratio.count() != 1) fail("ratio has shape {}, expected one number", to_string(ratio.dims));
  return ratio.dtype == DType::kF16 || ratio.dtype == DType::kBF16
             ? (*ratio.data<uint16_t>() & 0x7FFF) != 0
             : scalar_of(ratio) != 0;
}

// At inference, and in training with a ratio of 0: the input, and a mask that drops nothing; before
// opset 10 the mask is of the input's type.
Run prepare_dropout(const PrepareContext& context) {
  return [old = context.opset < 10](RunContext& run) {
    if (drops(run)) unsupported("training_mode with a ratio above 0 is not supported");
    const Dims dims = run.input(0).dims;
    const DType dtype = run.input(0).dtype;
    run.alias(0, 0, dims);
    if (!run.wants_output(1)) return;
    if (!old) {
      std::fill_n(run.output(1, DType::kBool, dims).data<uint8_t>(), dims.count(), uint8_t{1});
    } else if (dtype == DType::kF32) {
      std::fill_n(run.output(1, dtype, dims).data<float>(), dims.count(), 1.0F);
    } else {
      unsupported("a mask of type {} is not supported", name_of(dtype));
    }
  };
}

// 0 copies the input's extent (unless allowzero), -1 takes what is left.
Dims reshaped(const Dims& from, const Dims& wanted, bool allow_zero) {
  Dims result;
  size_t open = SIZE_MAX;
  for (size_t i = 0; i < wanted.rank(); ++i) {
    int64_t extent = wanted[i];
    if (extent == 0 && !allow_zero) {
      if (i >= from.rank()) fail("extent {} is copied from {}", i, to_string(from));
      extent = from[i];
    } else if (extent == -1) {
      if (open != SIZE_MAX) fail("two extents of {} are -1", to_string(wanted));
      open = i;
      extent = 1;
    } else if (extent < 0) {
      fail("shape {} has a negative extent", to_string(wanted));
    }
    result.push_back(extent);
  }
  const size_t count = from.count(), rest = checked_count(result);
  if (open != SIZE_MAX) {
    if (rest == 0 || count % rest != 0) {
      fail("shape {} cannot be reshaped to {}", to_string(from), to_string(wanted));
    }
    result[open] = static_cast<int64_t>(count / rest);
  } else if (count != rest) {
    fail("shape {} cannot be reshaped to {}", to_string(from), to_string(wanted));
  }
  return result;
}

Run prepare_reshape(const PrepareContext& context) {
  const IntsOperand shape(context, "shape", 1);
  const bool allow_zero = int_attribute(context.node, "allowzero", 0) != 0;
  return [shape, allow_zero](RunContext& run) {
    const auto wanted = shape.get(run);
    if (!wanted) fail("the shape is missing");
    run.alias(0, 0, reshaped(run.input(0).dims, *wanted, allow_zero));
  };
}

Run prepare_flatten(const PrepareContext& context) {
  return [axis = int_attribute(context.node, "axis", 1)](RunContext& run) {
    const Dims& dims = run.input(0).dims;
    const auto rank = static_cast<int64_t>(dims.rank());
    if (axis < -rank || axis > rank) fail("axis is {}, expected {} to {}", axis, -rank, rank);
    const auto split = static_cast<size_t>(axis < 0 ? axis + rank : axis);
    run.alias(0, 0,
              {static_cast<int64_t>(dims.product(0, split)),
               static_cast<int64_t>(dims.product(split, dims.rank()))});
  };
}

Run prepare_squeeze(const PrepareContext& context) {
  return [axes = IntsOperand(context, "axes", 1)](RunContext& run) {
    const Dims& dims = run.input(0).dims;
    const std::optional<Dims> named = axes.get(run);
    const uint64_t mask = named ? axes_mask(*named, dims.rank()) : 0;
    Dims result;
    for (size_t i = 0; i < dims.rank(); ++i) {
      const bool drop = named ? (mask >> i & 1) != 0 : dims[i] == 1;
      if (drop && dims[i] != 1) fail("axis {} of {} is not 1", i, to_string(dims));
      if (!drop) result.push_back(dims[i]);
    }
    run.alias(0, 0, result);
  };
}

Run prepare_unsqueeze(const PrepareContext& context) {
  return [axes = IntsOperand(context, "axes", 1)](RunContext& run) {
    const Dims& dims = run.input(0).dims;
    const std::optional<Dims> named = axes.get(run);
    if (!named) fail("the axes are missing");
    const size_t rank = dims.rank() + named->rank();
    if (rank > Dims::kMaxRank) unsupported("{} axes, expected at most {}", rank, Dims::kMaxRank);
    const uint64_t mask = axes_mask(*named, rank);
    Dims result;
    for (size_t i = 0, next = 0; i < rank; ++i) {
      result.push_back((mask >> i & 1) != 0 ? 1 : dims[next++]);
    }
    run.alias(0, 0, result);
  };
}

// start and end clamp, as Python's slices do.
Run prepare_shape(const PrepareContext& context) {
  const int64_t start = int_attribute(context.node, "start", 0);
  const int64_t end = int_attribute(context.node, "end", INT64_MAX);
  return [start, end](RunContext& run) {
    const Dims& dims = run.input(0).dims;
    const auto rank = static_cast<int64_t>(dims.rank());
    const auto place = [rank](int64_t at) {
      return std::clamp(at < 0 ? at + rank : at, int64_t{0}, rank);
    };
    const int64_t first = place(start), last = std::max(place(end), first);
    auto* to = run.output(0, DType::kI64, {last - first}).data<int64_t>();
    std::copy(dims.begin() + first, dims.begin() + last, to);
  };
}

Run prepare_size(const PrepareContext&) {
  return [](RunContext& run) {
    const auto count = static_cast<int64_t>(run.input(0).count());
    *run.output(0, DType::kI64, {}).data<int64_t>() = count;
  };
}

template <typename T>
void fill(std::byte* to, size_t count, const std::byte* value) {
  std::fill_n(reinterpret_cast<T*>(to), count, *reinterpret_cast<const T*>(value));
}

Run prepare_constant_of_shape(const PrepareContext& context) {
  Tensor value = Tensor::zeros(DType::kF32, {1});
  if (const Attribute* attribute = find_attribute(context.node, "value"); attribute != nullptr) {
    const auto* tensor = std::get_if<Tensor>(&attribute->value);
    if (tensor == nullptr || tensor->count() != 1) fail("the value is not one number");
    value = tensor->aligned();
  }
  return [value](RunContext& run) {
    const TensorView y = run.output(0, value.dtype(), ints_of(run.input(0)));
    switch (bytes_in_view(value.dtype())) {
      case 1:
        return fill<uint8_t>(y.bytes, y.count(), value.bytes().data());
      case 2:
        return fill<uint16_t>(y.bytes, y.count(), value.bytes().data());
      case 4:
        return fill<uint32_t>(y.bytes, y.count(), value.bytes().data());
      default:
        return fill<uint64_t>(y.bytes, y.count(), value.bytes().data());
    }
  };
}

template <typename T>
void range(RunContext& run) {
  const T start = *run.input(0).data<T>(), limit = *run.input(1).data<T>();
  const T delta = *run.input(2).data<T>();
  if (delta == 0) fail("the step is 0");
  const double steps = std::ceil((static_cast<double>(limit) - static_cast<double>(start)) /
                                 static_cast<double>(delta));
  if (!(steps < 0x1p62)) fail("a range of {} steps", steps);
  const auto count = static_cast<int64_t>(std::max(steps, 0.0));
  T* to = run.output(0, dtype_of<T>(), {count}).template data<T>();
  for (int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(start + static_cast<T>(i) * delta);
}

// f16 and bf16 are computed as f32, as the attribute stash_type says unless it is set.
Run prepare_range(const PrepareContext& context) {
  const int64_t stash_type = int_attribute(context.node, "stash_type", 1);
  if (stash_type != 1) unsupported("stash_type {} is not supported", stash_type);
  return [](RunContext& run) {
    for (size_t i = 0; i < 3; ++i) {
      if (run.input(i).dtype != run.input(0).dtype) fail("inputs are of several types");
      if (run.input(i).count() != 1) fail("input {} is not one number", i);
    }
    switch (run.input(0).dtype) {
      case DType::kI64:
        return range<int64_t>(run);
      case DType::kI32:
        return range<int32_t>(run);
      case DType::kF32:
        return range<float>(run);
      case DType::kF64:
        return range<double>(run);
      default:
        unsupported_type(run.input(0).dtype);
    }
  };
}

}  // namespace

constinit const Operator identity_operator{.name = "Identity", .prepare = prepare_identity};
constinit const Operator dropout_operator{.name = "Dropout", .prepare = prepare_dropout};
constinit const Operator reshape_operator{.name = "Reshape", .prepare = prepare_reshape};
constinit const Operator flatten_operator{.name = "Flatten", .prepare = prepare_flatten};
constinit const Operator squeeze_operator{.name = "Squeeze", .prepare = prepare_squeeze};
constinit const Operator unsqueeze_operator{.name = "Unsqueeze", .prepare = prepare_unsqueeze};
constinit const Operator shape_operator{.name = "Shape", .prepare = prepare_shape};
constinit const Operator size_operator{.name = "Size", .prepare = prepare_size};
constinit const Operator constant_of_shape_operator{.name = "ConstantOfShape",
                                                    .prepare = prepare_constant_of_shape};
constinit const Operator range_operator{
    .name = "Range", .prepare = prepare_range, .half_as_f32 = true};

}  // namespace espalier
