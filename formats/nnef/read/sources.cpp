// Where tensors come from: externals, variables, constants.
#include <fmt/format.h>

#include <array>
#include <cstring>

#include "formats/nnef/read/call.h"
#include "formats/nnef/read/data_type.h"
#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

DType item_type(const Call& call) {
  const std::string& name = call.generic.empty() ? "scalar" : call.generic;
  if (name == "scalar") return DType::kF32;
  if (name == "integer") return DType::kI64;
  if (name == "logical") return DType::kBool;
  call.fail(fmt::format("tensors of {} are not supported", printable(name)));
}

void check_known(const Call& call, const Extent& extent) {
  if (extent.is_known() && extent.value < 0) {
    call.fail(fmt::format("extent {} is negative", extent.value));
  }
}

EvalValue make_input(const Call& call, DType dtype) {
  std::vector<std::string> names;
  Shape shape;
  bool any = false;
  for (Extent& extent : call.extents("shape")) {
    check_known(call, extent);
    if (!extent.is_known() && extent.formula.empty()) {
      call.fail("the shape depends on another tensor");
    }
    any = any || !extent.formula.empty();
    shape.push_back(extent.value);
    names.push_back(std::move(extent.formula));
  }
  if (!any) names.clear();
  return EvalValue::of_tensor(
      {call.graph.input("", dtype, std::move(shape), std::move(names)), nullptr});
}

EvalValue external(const Call& call) { return make_input(call, item_type(call)); }

EvalValue tract_external(const Call& call) {
  return make_input(call, tract_type(call, call.text("datum_type")));
}

EvalValue variable(const Call& call) {
  const std::string& label = call.text("label");
  Tensor tensor = call.reading.load(label);
  // A generic that differs from the file is not an error: stock readers follow the file.
  const std::vector<int64_t> shape = call.integers("shape");
  if (tensor.shape() != shape) {
    call.fail(fmt::format("{} has shape {} in the graph and {} in its file", printable(label),
                          to_string(shape), to_string(tensor.shape())));
  }
  const ConstantPtr constant = make_constant(label, std::move(tensor));
  constant->has_label = true;
  return EvalValue::of_tensor({kNoValue, constant});
}

// One value for each item, or one for all.
EvalValue constant(const Call& call) {
  const std::vector<int64_t> shape = call.integers("shape");
  for (const int64_t extent : shape) check_known(call, {extent});
  const size_t count = element_count(shape);
  const DType dtype = item_type(call);
  const EvalValue& given = call.argument("value");
  const ConstantPtr literal = literal_constant(given, dtype);
  if (literal == nullptr) call.fail("value is not an array of numbers");
  const size_t have = element_count(literal->shape);
  call.reading.budget.spend(count);
  if (have == count) return EvalValue::of_tensor({kNoValue, reshaped(literal, shape)});
  if (have != 1) call.fail(fmt::format("{} values for shape {}", have, to_string(shape)));
  Tensor filled = Tensor::zeros(dtype, shape);
  const size_t width = bytes_of(dtype);
  for (size_t i = 0; i < count; ++i) {
    std::memcpy(filled.mutable_bytes().data() + i * width, literal->dense()->bytes().data(), width);
  }
  return EvalValue::of_tensor({kNoValue, make_constant("", std::move(filled))});
}

constexpr std::array kTranslators = {
    Translator{"external", external, "input"},
    Translator{"tract_core_external", tract_external, "input"},
    Translator{"variable", variable, "initializer"},
    Translator{"constant", constant, "initializer"},
};

}  // namespace

std::span<const Translator> source_translators() { return kTranslators; }

}  // namespace espalier::nnef
