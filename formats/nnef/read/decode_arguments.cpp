#include "formats/nnef/read/decode_arguments.h"

#include <fmt/format.h>

#include <cmath>

#include "lib/base/checked_math.h"
#include "lib/base/error.h"

namespace espalier::nnef {

const Constant& constant_argument(const Call& call, std::string_view name) {
  const EvalValue& value = call.argument(name);
  if (value.kind != EvalValue::Kind::tensor) call.fail(fmt::format("{} is not a variable", name));
  const ConstantPtr& found = value.tensor.constant;
  if (found == nullptr || found->dense() == nullptr) throw NotTranslated{};
  return *found;
}

std::vector<int64_t> integers(const Call& call, std::string_view name, size_t count) {
  std::vector<int64_t> result = call.integers(name);
  if (result.size() != count) {
    call.fail(fmt::format("{} has {} values, expected {}", name, result.size(), count));
  }
  for (const int64_t value : result) {
    if (value < 0) call.fail(fmt::format("{} holds {}", name, value));
  }
  return result;
}

void expect_shape(const Call& call, std::string_view name, const Shape& have, const Shape& want) {
  if (have != want) {
    call.fail(fmt::format("{} is {}, expected {}", name, to_string(have), to_string(want)));
  }
}

Tensor block_values(const Call& call) {
  const Constant& given = constant_argument(call, "values");
  const ConstantPtr narrow = given.narrow.lock();
  const Tensor& values = narrow != nullptr ? *narrow->dense() : *given.dense();
  if (values.shape().size() != 3) {
    call.fail(fmt::format("values are {}, expected [N, rows, columns]", to_string(values.shape())));
  }
  switch (values.dtype()) {
    case DType::kF32:
    case DType::kF16:
    case DType::kI8:
      return values;
    case DType::kU8:
    case DType::kI16:
    case DType::kU16:
      return as_f32(values);
    default:
      throw Error(Fault::kUnsupported, fmt::format("packed values of type {} are not supported",
                                                   name_of(values.dtype())));
  }
}

std::vector<int64_t> index_values(const Call& call, const Constant& constant) {
  const Tensor& tensor = *constant.dense();
  if (!is_float(tensor.dtype())) return to_i64(tensor);
  std::vector<int64_t> result;
  for (const float value : to_f32(tensor)) {
    if (!(value >= 0) || value > 1e9F || value != std::floor(value)) {
      call.fail(fmt::format("index is {}, expected an integer from 0 to 1e9", value));
    }
    result.push_back(static_cast<int64_t>(value));
  }
  return result;
}

std::string weight_name(const Call& call, std::string_view other) {
  const Constant& values = constant_argument(call, "values");
  constexpr std::string_view kEnding = "/values";
  if (!values.has_label || !values.name.ends_with(kEnding)) return "";
  const std::string name = values.name.substr(0, values.name.size() - kEnding.size());
  return constant_argument(call, other).name == fmt::format("{}/{}", name, other) ? name : "";
}

size_t capped_product(int64_t a, int64_t b) {
  return checked_mul(static_cast<size_t>(a), static_cast<size_t>(b)).value_or(SIZE_MAX);
}

EvalValue packed_weight(std::string name, SparseMatrix matrix) {
  validate(matrix);
  matrix.give_back();
  const bool has_label = !name.empty();
  const ConstantPtr constant = make_constant(std::move(name), std::move(matrix));
  constant->has_label = has_label;
  return EvalValue::of_tensor({kNoValue, constant});
}

}  // namespace espalier::nnef
