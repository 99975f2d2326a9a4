#include "lib/verify/output_errors.h"

#include <algorithm>
#include <cmath>

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

ValueId add_constant(Graph& graph, const std::string& name, const Tensor& tensor) {
  const ValueId value = add_value(graph, name, tensor.dtype(), tensor.shape());
  graph.weights.emplace(value, Weight{tensor, {}});
  return value;
}

// The node that reads both values, where there is one.
std::optional<size_t> reader_of_both(const Graph& graph, ValueId a, ValueId b) {
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const auto& inputs = graph.nodes[i].inputs;
    if (std::ranges::count(inputs, a) != 0 && std::ranges::count(inputs, b) != 0) return i;
  }
  return std::nullopt;
}

// Adds a copy of the node that reads the replacement instead, and makes both outputs outputs of the
// graph.
std::optional<Twin> add_twin(Graph& graph, const Replacement& replacement, size_t index) {
  const std::optional<size_t> reader = reader_of(graph, replacement.value, replacement.input);
  if (!reader) return std::nullopt;
  const std::optional<ValueId> output = first_output(graph.nodes[*reader]);
  if (!output) return std::nullopt;
  const std::string tag = "espalier.twin." + std::to_string(index);
  Node twin = graph.nodes[*reader];
  twin.name = tag;
  twin.inputs[replacement.input] = add_constant(graph, tag + ".weight", replacement.weight);
  std::optional<size_t> adder;
  ValueId bias = kNoValue;
  if (replacement.bias_value) {
    bias = add_constant(graph, tag + ".bias", replacement.bias);
    if (std::ranges::count(twin.inputs, *replacement.bias_value) == 0)
      adder = reader_of_both(graph, *output, *replacement.bias_value);
    std::ranges::replace(twin.inputs, *replacement.bias_value, bias);
  }
  for (ValueId& value : twin.outputs) {
    if (value == kNoValue) continue;
    const Value like = graph.values[value];
    const bool first = value == *output;
    value = first ? add_value(graph, tag, like.dtype, like.shape) : kNoValue;
  }
  while (!twin.outputs.empty() && twin.outputs.back() == kNoValue) twin.outputs.pop_back();
  const ValueId made = twin.outputs.back();
  graph.nodes.push_back(std::move(twin));
  ValueId plain = *output, changed = made;
  if (adder) {
    Node sum = graph.nodes[*adder];
    sum.name = tag + ".sum";
    plain = sum.outputs[0];
    std::ranges::replace(sum.inputs, *output, made);
    std::ranges::replace(sum.inputs, *replacement.bias_value, bias);
    changed = add_value(graph, sum.name, graph.values[plain].dtype, graph.values[plain].shape);
    sum.outputs[0] = changed;
    graph.nodes.push_back(std::move(sum));
  }
  if (std::ranges::count(graph.outputs, plain) == 0) graph.outputs.push_back(plain);
  graph.outputs.push_back(changed);
  return Twin{index, graph.values[plain].name, graph.values[changed].name};
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
