#include "lib/calibrate/sequential.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <string_view>

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

constexpr std::string_view kRefitted = "; refitted";

// For each value, whether it follows from a node that reads one of `weights`, and whether such a node
// follows from it.
struct Around {
  std::vector<bool> behind, before;
};

Around around(const Graph& graph, const std::map<ValueId, size_t>& weights) {
  Around result{std::vector<bool>(graph.values.size()), std::vector<bool>(graph.values.size())};
  const auto pass = [&](const Node& node, const std::vector<ValueId>& from,
                        const std::vector<ValueId>& to, std::vector<bool>& marks) {
    const auto marked = [&](ValueId v) { return v != kNoValue && marks[v]; };
    const auto reads = [&](ValueId v) { return weights.contains(v); };
    if (!std::ranges::any_of(from, marked) && !std::ranges::any_of(node.inputs, reads)) return;
    for (const ValueId value : to) {
      if (value != kNoValue) marks[value] = true;
    }
  };
  for (const Node& node : graph.nodes) pass(node, node.inputs, node.outputs, result.behind);
  for (size_t i = graph.nodes.size(); i-- > 0;)
    pass(graph.nodes[i], graph.nodes[i].outputs, graph.nodes[i].inputs, result.before);
  return result;
}

// Layers that are too small to be pruned, behind pruned ones and with none behind them: what these
// changed of their inputs, their weights can make up for (gru_digits at 90 %: top-1 .41 without).
std::vector<size_t> heads_of(const Graph& graph, const std::vector<Layer>& layers) {
  std::map<ValueId, size_t> pruned, small;
  for (size_t i = 0; i < layers.size(); ++i) {
    const Layer& layer = layers[i];
    if (!layer.prefix.empty()) continue;
    if (layer.left_out.empty()) pruned[layer.value] = i;
    if (is_too_small(layer) && layer.fold.parts == 1 && !layer.square) small[layer.value] = i;
  }
  const Around marks = around(graph, pruned);
  const auto is_marked = [](const std::vector<bool>& of) {
    return [&of](ValueId v) { return v != kNoValue && of[v]; };
  };
  std::set<size_t> heads, others;
  for (const Node& node : graph.nodes) {
    for (const ValueId input : node.inputs) {
      const auto found = small.find(input);
      if (found == small.end()) continue;
      const bool head = std::ranges::any_of(node.inputs, is_marked(marks.behind)) &&
                        std::ranges::none_of(node.outputs, is_marked(marks.before));
      (head ? heads : others).insert(found->second);
    }
  }
  std::vector<size_t> result;
  std::ranges::set_difference(heads, others, std::back_inserter(result));
  return result;
}

// All of it stays.
LayerPlan unpruned(const LayerPlan& plan) {
  LayerPlan result = plan;
  result.layer.left_out.clear();
  result.nm.reset();
  result.diagonal = false;
  result.mask = BlockMask(result.block, result.layer.fold, true);
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
  const std::vector<size_t> heads = heads_of(model.graph, layers);
  for (const size_t i : heads) layers[i].left_out.clear();
  const auto biases = layer_biases(model, layers);
  const auto stages = stages_of(model.graph, layers);
  Progress progress("prune in order", stages.size());
  for (const std::vector<size_t>& stage : stages) {
    Progress parts("layers", 1 + stage.size());
    std::vector<Layer> members;
    for (const size_t i : stage) members.push_back(layers[i]);
    const Model unchanged = cut_behind(model, members, options.states);
    const Model changed = cut_behind(result.model, members, options.states);
    const Statistics statistics =
        collect_paired(unchanged, changed, members, make_pass(unchanged, changed), options.collect);
    parts.step();
    for (const size_t i : stage) {
      Progress layer("layer", 2);
      if (std::ranges::count(heads, i) != 0) {
        refit_layer(model, unpruned(plan.layers[i]), i, statistics, biases[i], result, pool);
        std::string& reason = plan.layers[i].layer.left_out;
        if (!reason.ends_with(kRefitted)) reason += kRefitted;
        parts.step();
        continue;
      }
      if (scored != nullptr) {
        plan.layers[i] = choose_again(model, *scored, plan.layers[i], i, statistics,
                                      biases[i].has_value(), pool);
      }
      layer.step();
      refit_layer(model, plan.layers[i], i, statistics, biases[i], result, pool);
      parts.step();
    }
    progress.step();
  }
}

}  // namespace espalier
