#include "lib/ir/named_weights.h"

#include <algorithm>

namespace espalier {

std::vector<std::pair<std::string, const Weight*>> named_weights(const Model& model) {
  std::vector<std::pair<std::string, const Weight*>> result;
  for_each_graph(model.graph, [&](const Graph& graph, const std::string& prefix) {
    for (const auto& [value, weight] : graph.weights)
      result.emplace_back(prefix + graph.values[value].name, &weight);
  });
  return result;
}

uint64_t weight_bytes(const Weight& weight) {
  return weight.is_sparse() ? packed_bytes(weight.sparse()) : weight.dense().byte_size();
}

bool any_packed(const Model& model) {
  return std::ranges::any_of(named_weights(model),
                             [](const auto& entry) { return entry.second->is_sparse(); });
}

bool any_int8(const Model& model) {
  return std::ranges::any_of(named_weights(model), [](const auto& entry) {
    return entry.second->is_sparse() && entry.second->sparse().values.dtype() == DType::kI8;
  });
}

}  // namespace espalier
