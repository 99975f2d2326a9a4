#include "lib/prune/select/selection.h"

#include <map>
#include <utility>

#include "lib/base/check.h"

namespace espalier {

const Weight* stored_weight(const Model& model, const Layer& layer) {
  const Weight* weight = nullptr;
  if (layer.prefix.empty()) {
    weight = find_weight(model.graph, layer.value);
  } else {
    for_each_graph(model.graph, [&](const Graph& graph, const std::string& prefix) {
      if (prefix == layer.prefix) weight = find_weight(graph, layer.value);
    });
  }
  return weight;
}

const Weight& weight_of(const Model& model, const Layer& layer) {
  const Weight* weight = stored_weight(model, layer);
  ESPALIER_CHECK(weight != nullptr);
  return *weight;
}

Model with_weights(Model model, const std::vector<Layer>& layers,
                   std::vector<std::optional<std::variant<Tensor, SparseMatrix>>> weights) {
  ESPALIER_CHECK(layers.size() == weights.size());
  std::map<std::string, std::vector<size_t>> by_prefix;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (weights[i]) by_prefix[layers[i].prefix].push_back(i);
  }
  const auto replace = [&](Graph& graph, const std::string& prefix) {
    const auto here = by_prefix.find(prefix);
    if (here == by_prefix.end()) return;
    for (const size_t i : here->second) {
      const auto found = graph.weights.find(layers[i].value);
      ESPALIER_CHECK(found != graph.weights.end());
      found->second.value = std::move(*weights[i]);
    }
    by_prefix.erase(here);
  };
  const bool only_outermost =
      by_prefix.empty() || (by_prefix.size() == 1 && by_prefix.begin()->first.empty());
  if (only_outermost) {
    replace(model.graph, "");
  } else {
    model.graph = transformed(std::move(model.graph), replace);
  }
  return model;
}

size_t gates_of(const Layer& layer) {
  if (layer.op == "GRU") return 3;
  if (layer.op == "LSTM") return 4;
  return 1;
}

}  // namespace espalier
