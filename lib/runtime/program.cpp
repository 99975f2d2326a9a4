#include "lib/runtime/program.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "lib/ops/run_once.h"
#include "lib/sparse/pack.h"

namespace espalier {
namespace {

// What constant folding may make: of one node's outputs and scratch.
constexpr size_t kFoldBytes = size_t{64} << 20;

bool is_constant_node(const Graph& graph, const Node& node) {
  return node.op == "Constant" && node.outputs.size() == 1 &&
         graph.weights.contains(node.outputs[0]);
}

const Operator& operator_of(const Node& node) {
  const Operator* entry = find_operator(node.op, node.domain);
  if (entry == nullptr || entry->prepare == nullptr) {
    throw Error(Fault::kUnsupported, fmt::format("{}: the runtime has no operator {}",
                                                 node_label(node), printable(full_op_name(node))));
  }
  return *entry;
}

// Nodes that an output of the graph depends on.
std::vector<bool> live_nodes(const Graph& graph) {
  std::vector<bool> value_needed(graph.values.size()), node_needed(graph.nodes.size());
  for (const ValueId output : graph.outputs) value_needed[output] = true;
  for (size_t i = graph.nodes.size(); i-- > 0;) {
    const Node& node = graph.nodes[i];
    node_needed[i] = std::ranges::any_of(
        node.outputs, [&](ValueId v) { return v != kNoValue && value_needed[v]; });
    if (!node_needed[i]) continue;
    for (const ValueId input : node.inputs) {
      if (input != kNoValue) value_needed[input] = true;
    }
  }
  return node_needed;
}

std::vector<const Weight*> constant_inputs(const Graph& graph, const Node& node) {
  std::vector<const Weight*> result;
  for (const ValueId input : node.inputs) {
    result.push_back(input == kNoValue ? nullptr : find_weight(graph, input));
  }
  return result;
}

bool all_known(const Graph& graph, const Node& node) {
  return std::ranges::all_of(node.inputs,
                             [&](ValueId v) { return v == kNoValue || graph.weights.contains(v); });
}

// Runs what depends on constants only and makes its outputs constants. A node that fails here (it
// may never be reached with other inputs, or want too much memory) stays, and tells when it runs.
void fold_constants(Graph& graph, int64_t opset, ThreadPool& pool) {
  for (const Node& node : graph.nodes) {
    if (is_constant_node(graph, node) || !all_known(graph, node)) continue;
    std::vector<Tensor> outputs;
    try {
      outputs =
          run_once(operator_of(node), node, opset, constant_inputs(graph, node), pool, kFoldBytes);
    } catch (const Error&) {
      continue;
    }
    for (size_t i = 0; i < outputs.size() && i < node.outputs.size(); ++i) {
      if (node.outputs[i] != kNoValue) graph.weights[node.outputs[i]] = {outputs[i], {}};
    }
  }
}

class Builder {
 public:
  Builder(Graph graph, int64_t opset, const ExecutorOptions& options, ThreadPool& pool)
      : graph_(std::move(graph)), opset_(opset), options_(options) {
    validate_dense();
    fold_constants(graph_, opset_, pool);
  }

  Program build() && {
    const std::vector<bool> live = live_nodes(graph_);
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      const bool made = std::ranges::all_of(
          node.outputs, [&](ValueId v) { return v == kNoValue || graph_.weights.contains(v); });
      if (live[i] && !made) add_step(node);
    }
    for (const ValueId output : graph_.outputs) {
      if (graph_.weights.contains(output)) keep(output);
    }
    find_last_readers();
    for (const auto& [value, tensor] : program_.constants)
      program_.weight_bytes += tensor.bytes().size();
    for (const ValueId input : graph_.inputs) {
      if (!graph_.weights.contains(input)) program_.inputs.push_back(input);
    }
    program_.outputs = graph_.outputs;
    program_.values = std::move(graph_.values);
    return std::move(program_);
  }

 private:
  // Everything that is run dense is decoded and aligned now; packed weights stay for the operators
  // that take them.
  void validate_dense() {
    for (auto& [value, weight] : graph_.weights) {
      if (weight.is_sparse()) {
        if (options_.decode_weights) weight.value = decode(weight.sparse());
      } else if (bits_of(weight.dtype()) >= 8) {
        weight.value = weight.dense().aligned();
      }
    }
  }

  const Weight* dense_twin(ValueId value) {
    const auto found = decoded_.find(value);
    if (found != decoded_.end()) return &found->second;
    return &decoded_.emplace(value, Weight{decode(graph_.weights.at(value).sparse()), {}})
                .first->second;
  }

  // Per input what prepare() sees: packed where the operator takes it so.
  std::vector<const Weight*> constants_for(const Operator& entry, const Node& node) {
    std::vector<const Weight*> constants = constant_inputs(graph_, node);
    for (size_t i = 0; i < constants.size(); ++i) {
      if (constants[i] == nullptr || !constants[i]->is_sparse()) continue;
      if (!reaches_packed(entry, node, i, *constants[i])) constants[i] = dense_twin(node.inputs[i]);
    }
    return constants;
  }

  // The elements of a constant are read while the model runs.
  void keep(ValueId value) {
    const Weight& weight = graph_.weights.at(value);
    program_.constants.emplace(value,
                               weight.is_sparse() ? dense_twin(value)->dense() : weight.dense());
  }

  void add_step(const Node& node) {
    const Operator& entry = operator_of(node);
    Holdings holdings;
    PrepareContext context{node, opset_, constants_for(entry, node)};
    context.holdings = &holdings;
    Step step{node, {}, {}, {}, 0};
    try {
      step.run = entry.prepare(context);
    } catch (Error& error) {
      error.add_context(node_label(node));
      throw;
    }
    if (entry.half_as_f32) step.run = with_half_as_f32(std::move(step.run));
    program_.weight_bytes += holdings.bytes;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const ValueId value = node.inputs[i];
      if (value == kNoValue || !graph_.weights.contains(value)) continue;
      const Weight& weight = graph_.weights.at(value);
      program_.hollow[value] = {weight.dtype(), Dims(weight.shape()), nullptr};
      if (i >= 64 || (holdings.replaced >> i & 1) == 0) keep(value);
    }
    program_.steps.push_back(std::move(step));
  }

  void find_last_readers() {
    const size_t end = program_.steps.size();
    std::vector<size_t> last(graph_.values.size(), 0);
    std::vector<bool> read(graph_.values.size());
    for (size_t i = 0; i < end; ++i) {
      for (const ValueId input : program_.steps[i].node.inputs) {
        if (input == kNoValue) continue;
        last[input] = i;
        read[input] = true;
      }
    }
    for (const ValueId output : graph_.outputs) {
      last[output] = end;
      read[output] = true;
    }
    for (Step& step : program_.steps) {
      for (const ValueId output : step.node.outputs) {
        step.wanted.push_back(output != kNoValue && read[output]);
        step.last.push_back(output == kNoValue ? 0 : last[output]);
      }
    }
  }

  Graph graph_;
  int64_t opset_;
  ExecutorOptions options_;
  std::map<ValueId, Weight> decoded_;
  Program program_;
};

}  // namespace

std::string node_label(const Node& node) {
  if (node.name.empty()) return fmt::format("node ({})", printable(full_op_name(node)));
  return fmt::format("node {} ({})", printable(node.name), printable(full_op_name(node)));
}

Program make_program(const Model& model, const ExecutorOptions& options, ThreadPool& pool) {
  return Builder(model.graph, model.origin.opset, options, pool).build();
}

std::vector<std::string> unsupported_operators(const Model& model) {
  std::vector<std::string> result;
  const std::vector<bool> live = live_nodes(model.graph);
  for (size_t i = 0; i < model.graph.nodes.size(); ++i) {
    const Node& node = model.graph.nodes[i];
    if (!live[i] || is_constant_node(model.graph, node)) continue;
    const Operator* entry = find_operator(node.op, node.domain);
    if (entry == nullptr || entry->prepare == nullptr) {
      result.push_back(fmt::format("{} ({})", printable(full_op_name(node)), printable(node.name)));
    }
  }
  return result;
}

}  // namespace espalier
