// Loop and Scan that are a recurrent layer become GRU, LSTM or RNN.

#include "lib/passes/recurrent_loops.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "lib/ir/node_kinds.h"
#include "lib/ir/uses.h"
#include "lib/passes/recurrent_node.h"

namespace espalier {
namespace {

// How often each value is read, by nodes, by subgraphs and as an output.
std::vector<size_t> count_reads(const Graph& graph) {
  std::vector<size_t> reads(graph.values.size(), 0);
  const auto count = [&](ValueId value) {
    if (value != kNoValue) ++reads[value];
  };
  std::ranges::for_each(graph.outputs, count);
  std::ranges::for_each(graph.inputs, count);
  std::set<std::string, std::less<>> captured;
  for (const Node& node : graph.nodes) {
    std::ranges::for_each(node.inputs, count);
    for (std::string& name : captured_by(node)) captured.insert(std::move(name));
  }
  for (ValueId value = 0; !captured.empty() && value < graph.values.size(); ++value)
    if (captured.contains(graph.values[value].name)) ++reads[value];
  return reads;
}

// Removes what only the loops that are gone read: nodes, and constants. `freed` are the values that
// they read themselves.
void remove_unread(Graph& graph, std::set<ValueId> freed) {
  std::vector<size_t> reads = count_reads(graph);
  std::vector<bool> gone(graph.nodes.size(), false);
  for (size_t i = graph.nodes.size(); i-- > 0;) {
    const Node& node = graph.nodes[i];
    const auto is_freed = [&](ValueId output) { return freed.contains(output); };
    const auto is_unread = [&](ValueId output) { return output == kNoValue || reads[output] == 0; };
    if (!std::ranges::any_of(node.outputs, is_freed) ||
        !std::ranges::all_of(node.outputs, is_unread))
      continue;
    gone[i] = true;
    for (const ValueId input : node.inputs) {
      if (input == kNoValue) continue;
      --reads[input];
      freed.insert(input);
    }
  }
  for (const ValueId value : freed) {
    if (reads[value] != 0) continue;
    graph.weights.erase(value);
    graph.values[value] = {graph.values[value].name, {}, {}, {}, {}, {}};
  }
  size_t index = 0;
  std::erase_if(graph.nodes, [&](const Node&) { return gone[index++]; });
}

class Rewriting {
 public:
  Rewriting(Graph& graph, PassContext& context)
      : graph_(graph),
        context_(context),
        around_(graph, context.outer, context.opset, context.pool) {}

  // Replaces loop after loop, so that each sees the graph as it was given, then removes what only
  // they read, and names the weights.
  void run() {
    std::map<size_t, std::vector<Node>> replaced;  // by the loop's place
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      if (!is_loop(graph_.nodes[i])) continue;
      std::optional<RecurrentNodes> made = replacement(graph_.nodes[i]);
      if (!made) continue;
      free_inputs(graph_.nodes[i]);
      weights_.insert(weights_.end(), made->weights.begin(), made->weights.end());
      replaced.emplace(i, std::move(made->nodes));
    }
    if (replaced.empty()) return;
    std::vector<Node> nodes;
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      const auto found = replaced.find(i);
      if (found == replaced.end()) {
        nodes.push_back(std::move(graph_.nodes[i]));
      } else {
        std::ranges::move(found->second, std::back_inserter(nodes));
      }
    }
    graph_.nodes = std::move(nodes);
    remove_unread(graph_, freed_);
    for (const RecurrentNodes::Named& weight : weights_) rename(weight);
  }

 private:
  std::optional<RecurrentNodes> replacement(const Node& loop) {
    const std::optional<LoopStep> step = loop_step(loop, around_);
    if (!step) return std::nullopt;
    const StepFormula formula(*step->body, context_.opset, step->dtype, step->inputs,
                              step->constants, context_.pool);
    const std::optional<RecurrentStep> found = recurrent_step(formula, step->states);
    if (!found) return std::nullopt;
    if (reads_.size() != graph_.values.size()) reads_ = count_reads(graph_);
    const auto is_read = [&](ValueId value) { return reads_[value] != 0; };
    std::optional<RecurrentNodes> made =
        recurrent_nodes(loop, *step, formula, *found, around_, is_read, context_.names);
    if (made) around_.reset();
    return made;
  }

  void free_inputs(const Node& loop) {
    for (const ValueId input : loop.inputs)
      if (input != kNoValue) freed_.insert(input);
    for (const std::string& name : captured_by(loop))
      if (const auto value = around_.called(name)) freed_.insert(*value);
  }

  // Gives a weight the name of a constant, that of one which is gone or another that begins with
  // it.
  void rename(const RecurrentNodes::Named& weight) {
    const std::vector<size_t> reads = count_reads(graph_);
    std::string name = weight.name;
    for (ValueId value = 0; value < graph_.values.size(); ++value) {
      if (graph_.values[value].name != name) continue;
      const bool unused = reads[value] == 0 && !graph_.weights.contains(value) && !is_made(value);
      if (unused) {
        move_weight(weight.value, value);
        return;
      }
    }
    for (size_t i = 0; is_taken(name); ++i) name = fmt::format("{}.{}", weight.name, i);
    context_.names.insert(name);
    graph_.values[weight.value].name = name;
  }

  // Names of the loop's own constants are free once it is gone.
  bool is_taken(const std::string& name) const {
    bool taken = context_.outer != nullptr && context_.outer->place_of(name).scope != nullptr;
    for_each_graph(graph_, [&](const Graph& graph, const std::string&) {
      taken = taken || std::ranges::count(graph.values, name, &Value::name) != 0;
    });
    return taken;
  }

  bool is_made(ValueId value) const {
    return std::ranges::any_of(graph_.nodes, [&](const Node& node) {
      return std::ranges::count(node.outputs, value) != 0;
    });
  }

  // A value that nobody makes any more holds the weight from now on.
  void move_weight(ValueId from, ValueId to) {
    const std::string name = graph_.values[to].name;
    graph_.values[to] = graph_.values[from];
    graph_.values[to].name = name;
    graph_.weights[to] = std::move(graph_.weights.at(from));
    graph_.weights.erase(from);
    for (Node& node : graph_.nodes) std::ranges::replace(node.inputs, from, to);
  }

  Graph& graph_;
  PassContext& context_;
  GraphAround around_;
  std::vector<RecurrentNodes::Named> weights_;
  std::vector<size_t> reads_;
  std::set<ValueId> freed_;
};

void run(Graph& graph, PassContext& context) {
  if (std::ranges::any_of(graph.nodes, is_loop)) Rewriting(graph, context).run();
}

}  // namespace

bool has_loops(const Graph& graph) {
  bool found = false;
  for_each_graph(graph, [&](const Graph& one, const std::string&) {
    found = found || std::ranges::any_of(one.nodes, is_loop);
  });
  return found;
}

Model with_recurrent_layers(Model model, ThreadPool& pool) {
  if (!has_loops(model.graph)) return model;
  PassOptions options = PassOptions::none();
  for (const char* name : {"recurrent_loops", "loop_invariants"}) options.off.erase(name);
  return with_passes(std::move(model), options, pool);
}

constinit const Pass recurrent_loops_pass{
    .name = "recurrent_loops",
    .summary = "Loop and Scan over steps of a recurrent layer: GRU, LSTM, RNN",
    .run = run};

}  // namespace espalier
