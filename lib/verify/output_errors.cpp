#include <algorithm>
#include <cmath>

#include "lib/verify/verify.h"

namespace espalier {
namespace {

// A node and its twin that reads the replaced weight; both see the inputs of the unchanged model.
struct Twin {
  size_t replacement;
  std::string output, twin_output;
  double difference = 0, reference = 0;
};

std::optional<ValueId> first_output(const Node& node) {
  for (const ValueId output : node.outputs) {
    if (output != kNoValue) return output;
  }
  return std::nullopt;
}

std::optional<Twin> add_twin(Graph& graph, const Replacement& replacement, size_t index) {
  const std::optional<size_t> reader = reader_of(graph, replacement.value, replacement.input);
  if (!reader) return std::nullopt;
  const std::optional<ValueId> output = first_output(graph.nodes[*reader]);
  if (!output) return std::nullopt;
  const std::string tag = "espalier.twin." + std::to_string(index);
  Node twin = graph.nodes[*reader];
  twin.name = tag;
  const ValueId weight =
      add_value(graph, tag + ".weight", replacement.weight.dtype(), replacement.weight.shape());
  graph.weights.emplace(weight, Weight{replacement.weight, {}});
  twin.inputs[replacement.input] = weight;
  for (ValueId& value : twin.outputs) {
    if (value == kNoValue) continue;
    const Value like = graph.values[value];
    const bool first = value == *output;
    value = first ? add_value(graph, tag, like.dtype, like.shape) : kNoValue;
  }
  while (!twin.outputs.empty() && twin.outputs.back() == kNoValue) twin.outputs.pop_back();
  const ValueId made = twin.outputs.back();
  graph.nodes.push_back(std::move(twin));
  if (std::ranges::count(graph.outputs, *output) == 0) graph.outputs.push_back(*output);
  graph.outputs.push_back(made);
  return Twin{index, graph.values[*output].name, graph.values[made].name};
}

void accumulate(Twin& twin, const Feed& outputs) {
  const std::vector<float> a = to_f32(outputs.at(twin.output));
  const std::vector<float> b = to_f32(outputs.at(twin.twin_output));
  ESPALIER_CHECK(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - b[i];
    twin.difference += d * d;
    twin.reference += static_cast<double>(a[i]) * a[i];
  }
}

}  // namespace

std::optional<size_t> reader_of(const Graph& graph, ValueId value, size_t input) {
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const auto& inputs = graph.nodes[i].inputs;
    if (input < inputs.size() && inputs[input] == value) return i;
  }
  return std::nullopt;
}

std::vector<std::optional<double>> output_errors(const Model& model,
                                                 const std::vector<Replacement>& replacements,
                                                 const DataSet& data,
                                                 const std::vector<Feed>& feeds,
                                                 const ExecutorOptions& options) {
  std::vector<std::optional<double>> result(replacements.size());
  Model with_twins = model;
  std::vector<Twin> twins;
  for (size_t i = 0; i < replacements.size(); ++i) {
    if (auto twin = add_twin(with_twins.graph, replacements[i], i))
      twins.push_back(std::move(*twin));
  }
  if (twins.empty()) return result;
  Executor executor(with_twins, options);
  run_feeds(executor, with_twins, data, feeds, [&](size_t, const Feed& outputs) {
    for (Twin& twin : twins) accumulate(twin, outputs);
  });
  for (const Twin& twin : twins) {
    if (twin.reference > 0) result[twin.replacement] = std::sqrt(twin.difference / twin.reference);
  }
  return result;
}

}  // namespace espalier
