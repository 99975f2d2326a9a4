#include <algorithm>
#include <cstring>
#include <filesystem>
#include <vector>

#include "lib/c/models/handles.h"

namespace espalier {
namespace {

std::vector<ValueId> fed_inputs(const Graph& graph) {
  std::vector<ValueId> inputs;
  std::ranges::copy_if(graph.inputs, std::back_inserter(inputs),
                       [&](ValueId value) { return !graph.weights.contains(value); });
  return inputs;
}

espalier_model* made_of(const Model& read) {
  auto model = std::make_unique<espalier_model>();
  model->model = runnable(read);
  model->inputs = fed_inputs(model->model.graph);
  return model.release();
}

void describe(const espalier_model& model, const std::vector<ValueId>& values, size_t index,
              espalier_value_info& info) {
  described(&info, "info");
  expect(index < values.size(), "index is {}, the model has {}", index, values.size());
  const Value& value = model.model.graph.values[values[index]];
  info = {.size = sizeof info,
          .name = value.name.c_str(),
          .type = c_type_of(value.dtype),
          .rank = -1,
          .extents = {},
          .dimensions = {}};
  std::ranges::fill(info.dimensions, "");
  if (!value.shape) return;
  if (value.shape->size() > ESPALIER_MAX_RANK)
    throw Error(Fault::kUnsupported,
                fmt::format("{} has {} axes, at most {} are supported", printable(value.name),
                            value.shape->size(), ESPALIER_MAX_RANK));
  info.rank = static_cast<int32_t>(value.shape->size());
  std::ranges::copy(*value.shape, info.extents);
  for (size_t i = 0; i < value.dimension_names.size(); ++i)
    info.dimensions[i] = value.dimension_names[i].c_str();
}

}  // namespace
}  // namespace espalier

using namespace espalier;

extern "C" {

espalier_status espalier_model_open(const char* path, espalier_model** model) {
  return guarded([&] {
    espalier_model*& result = not_null(model, "model");
    result = nullptr;
    result = made_of(read_model(std::filesystem::path(&not_null(path, "path"))));
  });
}

espalier_status espalier_model_open_memory(const void* bytes, size_t size, espalier_model** model) {
  return guarded([&] {
    espalier_model*& result = not_null(model, "model");
    result = nullptr;
    expect(bytes != nullptr || size == 0, "bytes is null");
    const auto copy = std::make_shared<std::vector<std::byte>>(size);
    if (size != 0) std::memcpy(copy->data(), bytes, size);
    result = made_of(read_model(Bytes(*copy), copy));
  });
}

void espalier_model_destroy(espalier_model* model) { delete model; }

size_t espalier_model_inputs(const espalier_model* model) {
  return model == nullptr ? 0 : model->inputs.size();
}
size_t espalier_model_outputs(const espalier_model* model) {
  return model == nullptr ? 0 : model->model.graph.outputs.size();
}

espalier_status espalier_model_input(const espalier_model* model, size_t index,
                                     espalier_value_info* info) {
  return guarded([&] {
    const espalier_model& of = not_null(model, "model");
    describe(of, of.inputs, index, not_null(info, "info"));
  });
}

espalier_status espalier_model_output(const espalier_model* model, size_t index,
                                      espalier_value_info* info) {
  return guarded([&] {
    const espalier_model& of = not_null(model, "model");
    describe(of, of.model.graph.outputs, index, not_null(info, "info"));
  });
}

}  // extern "C"
