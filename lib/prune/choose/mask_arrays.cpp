#include "lib/prune/choose/mask_arrays.h"

#include <fmt/format.h>

#include "lib/base/error.h"

namespace espalier {
namespace {

constexpr std::string_view kAxisPrefix = "outputs_axis/";

[[noreturn]] void fail(std::string text) { throw Error(Fault::kFormat, std::move(text)); }

bool is_integer(DType dtype) { return dtype >= DType::kI8 && dtype < DType::kBool; }

Tensor as_bools(const std::string& name, const Tensor& array) {
  if (array.dtype() == DType::kBool) return array;
  const bool number = is_float(array.dtype()) || is_integer(array.dtype());
  if (!number) {
    fail(fmt::format("mask {} is of type {}, expected bool, or numbers 0 and 1", printable(name),
                     name_of(array.dtype())));
  }
  const std::vector<float> values = to_f32(array);
  Tensor mask = Tensor::zeros(DType::kBool, array.shape());
  const auto kept = mask.mutable_data<uint8_t>();
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] != 0 && values[i] != 1) {
      fail(fmt::format("mask {}: value {} at index {}, expected 0 (dropped) or 1 (kept)",
                       printable(name), values[i], i));
    }
    kept[i] = values[i] == 1 ? 1 : 0;
  }
  return mask;
}

std::optional<size_t> axis_of(const std::map<std::string, Tensor>& arrays, const std::string& name,
                              size_t rank) {
  const auto found = arrays.find(std::string(kAxisPrefix) + name);
  if (found == arrays.end()) return std::nullopt;
  const Tensor& array = found->second;
  const bool is_axis = is_integer(array.dtype()) && array.count() == 1;
  const int64_t axis = is_axis ? to_i64(array).front() : -1;
  if (axis < 0 || static_cast<size_t>(axis) >= rank) {
    fail(
        fmt::format("{}: expected an integer from 0 to {}, the axis of mask {} that counts outputs",
                    printable(found->first), rank - 1, printable(name)));
  }
  return static_cast<size_t>(axis);
}

}  // namespace

Masks masks_of_arrays(const std::map<std::string, Tensor>& arrays) {
  Masks masks;
  for (const auto& [name, array] : arrays) {
    const bool is_axis =
        name.starts_with(kAxisPrefix) && arrays.contains(name.substr(kAxisPrefix.size()));
    if (is_axis) continue;
    masks[name] = {as_bools(name, array), axis_of(arrays, name, array.shape().size())};
  }
  return masks;
}

std::map<std::string, Tensor> arrays_of(const Masks& masks) {
  std::map<std::string, Tensor> arrays;
  for (const auto& [name, mask] : masks) {
    arrays[name] = mask.kept;
    if (!mask.outputs_axis) continue;
    const auto axis = static_cast<int64_t>(*mask.outputs_axis);
    arrays[std::string(kAxisPrefix) + name] = Tensor::of<int64_t>({}, std::span(&axis, 1));
  }
  return arrays;
}

}  // namespace espalier
