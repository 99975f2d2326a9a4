#include "lib/prune/select/layer_bias.h"

#include <algorithm>
#include <map>

#include "lib/ir/node_kinds.h"
#include "lib/prune/select/weight_readers.h"

namespace espalier {
namespace {

class Finder {
 public:
  explicit Finder(const Model& model) : uses_(weight_uses(model.graph)) {
    for (const WeightUse& use : uses_) by_place_[{use.prefix, use.value}] = &use;
    for_each_graph(model.graph, [&](const Graph& graph, const std::string&) {
      for (const Value& value : graph.values) ++names_[value.name];
    });
  }

  std::optional<LayerBias> find(const Layer& layer) const {
    const WeightUse* use = at(layer.prefix, layer.value);
    const Node* node = use == nullptr ? nullptr : only_reader(*use);
    if (node == nullptr) return std::nullopt;
    if (node->op == "Gemm") return of_gemm(layer, *node);
    if (node->op == "Conv") {
      return node->inputs.size() > 2 && node->inputs[2] != kNoValue
                 ? of_input(layer, *node, 2, 1)
                 : of_normalized(layer, *node, *use->graph);
    }
    if (is_recurrent(node->op)) return of_recurrent(layer, *node);
    if (node->op == "MatMul") return of_matmul(layer, *node, *use->graph);
    return std::nullopt;
  }

 private:
  const WeightUse* at(const std::string& prefix, ValueId value) const {
    const auto found = by_place_.find({prefix, value});
    return found == by_place_.end() ? nullptr : found->second;
  }

  // The node of the weight's own graph that alone reads it.
  static const Node* only_reader(const WeightUse& use) {
    if (use.readings.size() != 1 || !use.indirect.empty() || use.is_output) return nullptr;
    const Node* node = use.readings[0].node;
    const auto& nodes = use.graph->nodes;
    const bool here = std::ranges::any_of(nodes, [&](const Node& n) { return &n == node; });
    return here ? node : nullptr;
  }

  std::optional<LayerBias> of_input(const Layer& layer, const Node& node, size_t input,
                                    double scale) const {
    if (input >= node.inputs.size() || node.inputs[input] == kNoValue) return std::nullopt;
    const WeightUse* use = at(layer.prefix, node.inputs[input]);
    if (use == nullptr || use->weight == nullptr || only_reader(*use) != &node) return std::nullopt;
    const Weight& bias = *use->weight;
    if (bias.is_sparse() || bias.dtype() != DType::kF32) return std::nullopt;
    LayerBias result{layer.prefix, node.inputs[input], {}, scale};
    for (size_t part = 0; part < layer.fold.parts; ++part)
      result.first.push_back(part * layer.fold.rows);
    // One number per output, along the last axis; a recurrent layer's are checked by its caller.
    const bool plain = bias.dense().count() == layer.fold.parts * layer.fold.rows &&
                       !bias.shape().empty() &&
                       bias.shape().back() == static_cast<int64_t>(bias.dense().count());
    if (!plain && layer.op != "GRU" && layer.op != "LSTM" && layer.op != "RNN") return std::nullopt;
    return result;
  }

  std::optional<LayerBias> of_gemm(const Layer& layer, const Node& node) const {
    const double alpha = float_attribute(node, "alpha", 1), beta = float_attribute(node, "beta", 1);
    if (beta == 0) return std::nullopt;
    return of_input(layer, node, 2, alpha / beta);
  }

  // B is [directions, 2 * gates * hidden]: biases of W, then of R.
  std::optional<LayerBias> of_recurrent(const Layer& layer, const Node& node) const {
    auto result = of_input(layer, node, 3, 1);
    if (!result) return std::nullopt;
    const size_t gates = gates_of(layer), hidden = layer.fold.rows;
    const Tensor& bias = at(layer.prefix, result->value)->weight->dense();
    if (bias.count() != 2 * layer.fold.parts * hidden) return std::nullopt;
    for (size_t part = 0; part < layer.fold.parts; ++part) {
      const size_t direction = part / gates, gate = part % gates;
      result->first[part] = ((2 * direction + (layer.input == 2 ? 1 : 0)) * gates + gate) * hidden;
    }
    return result;
  }

  // The node that alone reads what a layer puts out, and as which input.
  struct Consumer {
    const Node* node = nullptr;
    size_t input = 0;
  };
  std::optional<Consumer> only_consumer(const Node& node, const Graph& graph) const {
    if (node.outputs.size() != 1) return std::nullopt;
    const ValueId product = node.outputs[0];
    if (std::ranges::count(graph.outputs, product) != 0) return std::nullopt;
    if (names_.at(graph.values[product].name) != 1) return std::nullopt;  // a subgraph may read it
    Consumer found;
    for (const Node& reader : graph.nodes) {
      for (size_t i = 0; i < reader.inputs.size(); ++i) {
        if (reader.inputs[i] != product) continue;
        if (found.node != nullptr) return std::nullopt;
        found = {&reader, i};
      }
    }
    return found.node == nullptr ? std::nullopt : std::optional(found);
  }

  // The Add that alone reads the product.
  std::optional<LayerBias> of_matmul(const Layer& layer, const Node& node,
                                     const Graph& graph) const {
    if (layer.input != 1 || layer.fold.parts != 1) return std::nullopt;
    const auto add = only_consumer(node, graph);
    if (!add || full_op_name(*add->node) != "Add" || add->node->inputs.size() != 2)
      return std::nullopt;
    return of_input(layer, *add->node, 1 - add->input, 1);
  }

  // The running mean of the BatchNormalization that alone reads a convolution: it is subtracted.
  std::optional<LayerBias> of_normalized(const Layer& layer, const Node& node,
                                         const Graph& graph) const {
    const auto norm = only_consumer(node, graph);
    if (!norm || full_op_name(*norm->node) != "BatchNormalization" || norm->input != 0 ||
        norm->node->outputs.size() != 1 || int_attribute(*norm->node, "training_mode", 0) != 0)
      return std::nullopt;
    return of_input(layer, *norm->node, 3, -1);
  }

  std::vector<WeightUse> uses_;
  std::map<std::pair<std::string, ValueId>, const WeightUse*> by_place_;
  std::map<std::string, size_t> names_;
};

}  // namespace

std::vector<std::optional<LayerBias>> layer_biases(const Model& model,
                                                   const std::vector<Layer>& layers) {
  const Finder finder(model);
  std::vector<std::optional<LayerBias>> result;
  for (const Layer& layer : layers) {
    result.push_back(layer.left_out.empty() ? finder.find(layer) : std::nullopt);
  }
  return result;
}

}  // namespace espalier
