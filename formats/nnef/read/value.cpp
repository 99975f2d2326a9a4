#include "formats/nnef/read/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "formats/nnef/language/lexer.h"
#include "lib/base/error.h"
#include "lib/base/limits.h"

namespace espalier::nnef {
namespace {

using Kind = EvalValue::Kind;

constexpr size_t kMaxPrinted = size_t{1} << 20;
static_assert(EvalValue::kMaxNesting == limits::nnef_array_nesting);

// With a point or an exponent, so that it reads back as a scalar.
std::string print_scalar(double value) {
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::string out = fmt::format("{}", value);
  if (out.find_first_of(".en") == std::string::npos) out += ".0";
  return out;
}

// The text of a value, with $N for the N-th tensor in it.
void append(std::string& out, const EvalValue& value, std::vector<TensorRef>& tensors) {
  if (out.size() > kMaxPrinted) {
    throw Error(Fault::kUnsupported, "the arguments of an operator take more than 1 MiB of text");
  }
  switch (value.kind) {
    case Kind::nothing:
      break;
    case Kind::integer:
      out += std::to_string(value.integer);
      break;
    case Kind::scalar:
      out += print_scalar(value.scalar);
      break;
    case Kind::logical:
      out += value.logical ? "true" : "false";
      break;
    case Kind::string:
      out += quoted(value.text);
      break;
    case Kind::dimension:
      out += value.text;
      break;
    case Kind::tensor: {
      const auto same = [&](const TensorRef& other) {
        return other.id == value.tensor.id && other.constant == value.tensor.constant;
      };
      const auto found = std::ranges::find_if(tensors, same);
      out += fmt::format("${}", found - tensors.begin());
      if (found == tensors.end()) tensors.push_back(value.tensor);
      break;
    }
    case Kind::array:
    case Kind::tuple:
      out += value.kind == Kind::array ? '[' : '(';
      for (size_t i = 0; i < value.items->size(); ++i) {
        if (i > 0) out += ", ";
        append(out, (*value.items)[i], tensors);
      }
      out += value.kind == Kind::array ? ']' : ')';
      break;
  }
}

// Follows the first items to find the extents; collect() then checks that the rest agrees.
Shape literal_shape(const EvalValue& value) {
  Shape shape;
  const EvalValue* at = &value;
  while (at->kind == Kind::array) {
    shape.push_back(static_cast<int64_t>(at->items->size()));
    if (at->items->empty()) break;
    at = &at->items->front();
  }
  return shape;
}

bool collect(const EvalValue& value, const Shape& shape, size_t axis,
             std::vector<const EvalValue*>& leaves) {
  if (axis == shape.size()) {
    leaves.push_back(&value);
    return value.is_number() || value.kind == Kind::logical;
  }
  if (value.kind != Kind::array || value.items->size() != static_cast<size_t>(shape[axis])) {
    return false;
  }
  return leaves.size() < kMaxPrinted &&
         std::ranges::all_of(*value.items, [&](const EvalValue& item) {
           return collect(item, shape, axis + 1, leaves);
         });
}

Tensor literal_tensor(const std::vector<const EvalValue*>& leaves, const Shape& shape,
                      DType dtype) {
  if (is_float(dtype)) {
    std::vector<float> values;
    for (const EvalValue* leaf : leaves) {
      values.push_back(leaf->kind == Kind::logical ? static_cast<float>(leaf->logical)
                                                   : static_cast<float>(leaf->number()));
    }
    return from_f32(values, dtype, shape);
  }
  Tensor result = Tensor::zeros(dtype, shape);
  const size_t width = bytes_of(dtype);
  for (size_t i = 0; i < leaves.size(); ++i) {
    const EvalValue& leaf = *leaves[i];
    int64_t bits = leaf.integer;
    if (leaf.kind == Kind::logical) bits = leaf.logical ? 1 : 0;
    if (leaf.kind == Kind::scalar) {
      bits = std::abs(leaf.scalar) < 9e18 ? static_cast<int64_t>(leaf.scalar) : 0;
    }
    if (dtype == DType::kBool) bits = bits != 0 ? 1 : 0;
    std::memcpy(result.mutable_bytes().data() + i * width, &bits, width);  // little-endian
  }
  return result;
}

DType literal_type(const std::vector<const EvalValue*>& leaves) {
  const auto all = [&](Kind kind) {
    return std::ranges::all_of(leaves, [&](const EvalValue* leaf) { return leaf->kind == kind; });
  };
  if (leaves.empty()) return DType::kF32;
  if (all(Kind::logical)) return DType::kBool;
  return all(Kind::integer) ? DType::kI64 : DType::kF32;
}

}  // namespace

EvalValue EvalValue::of_integer(int64_t value) {
  EvalValue result;
  result.kind = Kind::integer;
  result.integer = value;
  return result;
}

EvalValue EvalValue::of_scalar(double value) {
  EvalValue result;
  result.kind = Kind::scalar;
  result.scalar = value;
  return result;
}

EvalValue EvalValue::of_logical(bool value) {
  EvalValue result;
  result.kind = Kind::logical;
  result.logical = value;
  return result;
}

EvalValue EvalValue::of_string(std::string value) {
  EvalValue result;
  result.kind = Kind::string;
  result.text = std::move(value);
  return result;
}

EvalValue EvalValue::of_dimension(std::string text) {
  EvalValue result;
  result.kind = Kind::dimension;
  result.text = std::move(text);
  return result;
}

EvalValue EvalValue::of_tensor(TensorRef value) {
  EvalValue result;
  result.kind = Kind::tensor;
  result.tensor = std::move(value);
  return result;
}

EvalValue EvalValue::of_list(Kind kind, std::vector<EvalValue> items, Position at) {
  EvalValue result;
  result.kind = kind;
  for (const EvalValue& item : items) result.nesting = std::max(result.nesting, item.nesting);
  if (++result.nesting > kMaxNesting) {
    fail_at(at, fmt::format("arrays are nested deeper than {}", kMaxNesting));
  }
  result.items = std::make_shared<const std::vector<EvalValue>>(std::move(items));
  return result;
}

std::string_view describe(Kind kind) {
  switch (kind) {
    case Kind::nothing:
      return "nothing";
    case Kind::integer:
      return "an integer";
    case Kind::scalar:
      return "a scalar";
    case Kind::logical:
      return "a logical";
    case Kind::string:
      return "a string";
    case Kind::dimension:
      return "a free dimension";
    case Kind::tensor:
      return "a tensor";
    case Kind::array:
      return "an array";
    case Kind::tuple:
      return "a tuple";
  }
  return "nothing";
}

std::string print(const EvalValue& value, std::vector<TensorRef>& tensors) {
  std::string out;
  append(out, value, tensors);
  return out;
}

ConstantPtr literal_constant(const EvalValue& value, DType dtype) {
  const Shape shape = literal_shape(value);
  std::vector<const EvalValue*> leaves;
  if (shape.size() > 8 || !collect(value, shape, 0, leaves)) return nullptr;
  if (dtype == DType::kUnknown) dtype = literal_type(leaves);
  const bool makeable =
      is_float(dtype) || dtype == DType::kBool || (dtype >= DType::kI8 && dtype <= DType::kU64);
  if (!makeable) return nullptr;
  return make_constant("", literal_tensor(leaves, shape, dtype));
}

}  // namespace espalier::nnef
