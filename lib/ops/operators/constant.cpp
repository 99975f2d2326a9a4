// Constants that a reader left in their node (value_int and its kin).

#include <algorithm>

#include "lib/ops/op_util.h"
#include "lib/ops/run_once.h"

namespace espalier {
namespace {

Run give(const Tensor& value) {
  return [value = viewed(value)](RunContext& run) {
    const TensorView y = run.output(0, value.view.dtype, value.view.dims);
    std::copy_n(value.view.bytes, value.tensor.bytes().size(), y.bytes);
  };
}

Shape length_of(const auto& values) { return {static_cast<int64_t>(values.size())}; }

Run prepare(const PrepareContext& context) {
  for (const Attribute& attribute : context.node.attributes) {
    const auto& value = attribute.value;
    if (const auto* tensor = std::get_if<Tensor>(&value)) return give(*tensor);
    if (const auto* number = std::get_if<float>(&value)) {
      return give(Tensor::of<float>({}, std::span(number, 1)));
    }
    if (const auto* number = std::get_if<int64_t>(&value)) {
      return give(Tensor::of<int64_t>({}, std::span(number, 1)));
    }
    if (const auto* numbers = std::get_if<std::vector<float>>(&value)) {
      return give(Tensor::of<float>(length_of(*numbers), *numbers));
    }
    if (const auto* numbers = std::get_if<std::vector<int64_t>>(&value)) {
      return give(Tensor::of<int64_t>(length_of(*numbers), *numbers));
    }
  }
  unsupported("a constant of this kind is not supported");
}

}  // namespace

constinit const Operator constant_operator{.name = "Constant", .prepare = prepare};

}  // namespace espalier
