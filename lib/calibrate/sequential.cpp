#include "lib/calibrate/sequential.h"

#include <algorithm>
#include <map>
#include <set>

#include "lib/base/log.h"
#include "lib/prune/choose/plan.h"

namespace espalier {
namespace {

// Hidden states follow from the layer's own weights: made to bring them back to the unchanged
// model's, a recurrent matrix learns to forget them (gru_digits at 70 %: top-1 .853 instead of
// .928).
bool goes_along(const Layer& layer) {
  return layer.left_out.empty() && layer.prefix.empty() && !layer.square;
}

// Value of a weight -> the layer that it is, in the main graph.
std::map<ValueId, size_t> layers_by_value(const std::vector<Layer>& layers) {
  std::map<ValueId, size_t> result;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (goes_along(layers[i])) result[layers[i].value] = i;
  }
  return result;
}

}  // namespace

std::vector<std::vector<size_t>> stages_of(const Graph& graph, const std::vector<Layer>& layers) {
  const std::map<ValueId, size_t> by_value = layers_by_value(layers);
  std::vector<size_t> before(graph.values.size(), 0);  // layers on the longest way to a value
  std::vector<size_t> stage(layers.size(), 0);
  for (const Node& node : graph.nodes) {
    size_t depth = 0;
    for (const ValueId input : node.inputs) {
      if (input != kNoValue) depth = std::max(depth, before[input]);
    }
    bool reads = false;
    for (const ValueId input : node.inputs) {
      const auto found = by_value.find(input);
      if (found == by_value.end()) continue;
      reads = true;
      stage[found->second] = std::max(stage[found->second], depth);
    }
    for (const ValueId output : node.outputs) {
      if (output != kNoValue) before[output] = depth + (reads ? 1 : 0);
    }
  }
  std::map<size_t, std::vector<size_t>> stages;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (goes_along(layers[i])) stages[stage[i]].push_back(i);
  }
  std::vector<std::vector<size_t>> result;
  for (auto& [depth, members] : stages) result.push_back(std::move(members));
  return result;
}

Model cut_behind(const Model& model, const std::vector<Layer>& layers,
                 const std::vector<std::string>& keep) {
  std::set<ValueId> weights;
  for (const Layer& layer : layers) weights.insert(layer.value);
  Model cut = model;
  Graph& graph = cut.graph;
  std::vector<ValueId> outputs;
  for (const ValueId output : graph.outputs) {
    if (std::ranges::count(keep, graph.values[output].name) != 0) outputs.push_back(output);
  }
  for (const Node& node : graph.nodes) {
    const bool reads =
        std::ranges::any_of(node.inputs, [&](ValueId input) { return weights.contains(input); });
    const auto first = std::ranges::find_if(node.outputs, [](ValueId v) { return v != kNoValue; });
    if (reads && first != node.outputs.end() && std::ranges::count(outputs, *first) == 0)
      outputs.push_back(*first);
  }
  graph.outputs = std::move(outputs);
  return cut;
}

void prune_in_order(const Model& model, const ScoredPlan* scored, PrunePlan& plan, Refitted& result,
                    const MakePairedPass& make_pass, const SequentialOptions& options,
                    ThreadPool& pool) {
  std::vector<Layer> layers;
  for (const LayerPlan& layer : plan.layers) layers.push_back(layer.layer);
  const auto biases = layer_biases(model, layers);
  const auto stages = stages_of(model.graph, layers);
  Progress progress("prune in order", stages.size());
  for (const std::vector<size_t>& stage : stages) {
    std::vector<Layer> members;
    for (const size_t i : stage) members.push_back(layers[i]);
    const Model unchanged = cut_behind(model, members, options.states);
    const Model changed = cut_behind(result.model, members, options.states);
    const Statistics statistics =
        collect_paired(unchanged, changed, members, make_pass(unchanged, changed), options.collect);
    for (const size_t i : stage) {
      if (scored != nullptr) {
        plan.layers[i] = choose_again(model, *scored, plan.layers[i], i, statistics,
                                      biases[i].has_value(), pool);
      }
      refit_layer(model, plan.layers[i], i, statistics, biases[i], result, pool);
    }
    progress.step();
  }
}

}  // namespace espalier
