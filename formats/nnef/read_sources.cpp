// Where tensors come from: externals, variables, constants.
#include <fmt/format.h>

#include <array>

#include "formats/nnef/call.h"
#include "formats/nnef/data_type.h"
#include "formats/nnef/sparse_variable.h"
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

Shape checked_shape(const Call& call, const std::vector<int64_t>& extents,
                    const std::vector<std::string>& names) {
  for (size_t i = 0; i < extents.size(); ++i) {
    if (extents[i] < 0 && names[i].empty()) {
      call.fail(fmt::format("extent {} is negative", extents[i]));
    }
  }
  return extents;
}

EvalValue make_input(const Call& call, DType dtype) {
  std::vector<std::string> names;
  const std::vector<int64_t> extents = call.dimensions("shape", names);
  Shape shape = checked_shape(call, extents, names);
  bool any = false;
  for (const std::string& name : names) any = any || !name.empty();
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
  // A generic that says otherwise than the file is no error: stock readers go by the file.
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
  std::vector<std::string> no_names(shape.size());
  const size_t count = element_count(checked_shape(call, shape, no_names));
  const DType dtype = item_type(call);
  const EvalValue& given = call.argument("value");
  const ConstantPtr literal = literal_constant(given, dtype);
  if (literal == nullptr) call.fail("value is no array of numbers");
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
