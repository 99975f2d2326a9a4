#include "lib/ir/free_dimensions.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/base/error.h"

namespace espalier {
namespace {

bool is_named(const Value& value, size_t axis) {
  return axis < value.dimension_names.size() && is_dimension_name(value.dimension_names[axis]);
}

bool fits(const Value& value, const Shape& shape) {
  if (value.shape && value.shape->size() != shape.size()) return false;
  for (size_t i = 0; i < shape.size(); ++i) {
    const int64_t extent = value.shape ? (*value.shape)[i] : -1;
    if (shape[i] < -1 || (extent >= 0 && shape[i] >= 0 && extent != shape[i])) return false;
  }
  return true;
}

Value& input_called(Graph& graph, const std::string& name) {
  for (const ValueId id : graph.inputs) {
    if (graph.values[id].name == name) return graph.values[id];
  }
  throw Error(Fault::kUsage,
              fmt::format("a shape is given for '{}', which is not an input of the model",
                          printable(name)));
}

void bind_axis(Value& value, size_t axis, int64_t extent) {
  (*value.shape)[axis] = extent;
  if (axis < value.dimension_names.size()) value.dimension_names[axis].clear();
}

}  // namespace

bool is_dimension_name(std::string_view name) {
  return std::ranges::any_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  });
}

// Binds the inputs that are named, then all others that share a name with what was bound.
void bind_free_dimensions(Graph& graph, const std::map<std::string, Shape>& shapes) {
  std::map<std::string, int64_t> by_name;
  for (const auto& [name, shape] : shapes) {
    Value& value = input_called(graph, name);
    if (!fits(value, shape)) {
      throw Error(
          Fault::kUsage,
          fmt::format("shape {} does not match input '{}'{}", to_string(shape), printable(name),
                      value.shape ? " of shape " + to_string(*value.shape) : ""));
    }
    if (!value.shape) value.shape = Shape(shape.size(), -1);
    for (size_t i = 0; i < shape.size(); ++i) {
      if ((*value.shape)[i] >= 0 || shape[i] < 0) continue;
      if (is_named(value, i)) {
        const std::string& dimension = value.dimension_names[i];
        const auto [place, is_new] = by_name.emplace(dimension, shape[i]);
        if (!is_new && place->second != shape[i]) {
          throw Error(Fault::kUsage, fmt::format("dimension '{}' is bound to {} and to {}",
                                                 printable(dimension), place->second, shape[i]));
        }
      }
      bind_axis(value, i, shape[i]);
    }
  }
  for (const ValueId id : graph.inputs) {
    Value& value = graph.values[id];
    for (size_t i = 0; value.shape && i < value.shape->size(); ++i) {
      if ((*value.shape)[i] >= 0 || !is_named(value, i)) continue;
      const auto found = by_name.find(value.dimension_names[i]);
      if (found != by_name.end()) bind_axis(value, i, found->second);
    }
  }
}

}  // namespace espalier
