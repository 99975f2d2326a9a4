// From a graph to the steps that run it: which nodes are needed, and how each is prepared.

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "lib/ir/node_kinds.h"
#include "lib/ir/scope.h"
#include "lib/ops/run_once.h"
#include "lib/runtime/body.h"
#include "lib/runtime/graph_step.h"
#include "lib/sparse/pack.h"

namespace espalier {
class GraphRunner::Builder {
 public:
  Builder(GraphRunner& runner, const Graph& graph, int64_t opset, const ExecutorOptions& options,
          const OuterConstants& outer)
      : runner_(runner), graph_(graph), opset_(opset), options_(options), scope_(graph) {
    for (const auto& [value, weight] : graph.weights) {
      constants_[value] = std::shared_ptr<const Weight>(std::shared_ptr<void>(), &weight);
    }
    names_values(outer);
  }

  void build() {
    mark_needed();
    for (const size_t i : needed_nodes(graph_)) {
      const std::string label = label_of(graph_.nodes[i], i);
      try {
        add_node(graph_.nodes[i], label);
      } catch (Error& error) {
        error.add_context(label);
        throw;
      }
    }
    set_last_uses();
    keep_constants();
  }

 private:
  // Values by name, and what comes from the graphs around this one.
  void names_values(const OuterConstants& outer) {
    values_ = graph_.values.size();
    std::unordered_map<std::string_view, ValueId> outer_values;
    for (ValueId value = 0; value < graph_.values.size(); ++value) {
      if (!scope_.gives(value)) outer_values.emplace(graph_.values[value].name, value);
    }
    for (const std::string& name : captured_names(graph_)) {
      const auto own = outer_values.find(name);
      // Else only subgraphs read it.
      const ValueId value =
          own != outer_values.end() ? own->second : static_cast<ValueId>(values_++);
      captured_.emplace(name, value);
      const auto constant = outer.find(name);
      if (constant != outer.end()) {
        constants_[value] = constant->second;
      } else {
        runner_.captures_.emplace_back(name, value);
      }
    }
    for (const ValueId input : graph_.inputs) {
      if (!constants_.contains(input)) runner_.inputs_.push_back(input);
    }
    runner_.outputs_ = graph_.outputs;
    runner_.views_.resize(values_);
    runner_.pieces_.assign(values_, SIZE_MAX);
  }

  // A value that a subgraph reads: of this graph, or of those around it.
  ValueId value_called(const std::string& name) const {
    const std::optional<ValueId> value = scope_.find(name);
    return value ? *value : captured_.at(name);
  }

  void mark_needed() {
    read_.assign(values_, false);
    for (const ValueId output : graph_.outputs) read_[output] = true;
    for (const size_t i : needed_nodes(graph_)) {
      for (const ValueId input : graph_.nodes[i].inputs) {
        if (input != kNoValue) read_[input] = true;
      }
      for (const std::string& name : captured_by(graph_.nodes[i])) read_[value_called(name)] = true;
    }
  }

  const Weight* constant(ValueId value) const {
    if (value == kNoValue) return nullptr;
    const auto found = constants_.find(value);
    return found == constants_.end() ? nullptr : found->second.get();
  }

  std::shared_ptr<const Weight> dense(ValueId value) {
    const std::shared_ptr<const Weight>& known = constants_.at(value);
    if (!known->is_sparse()) return known;
    auto& decoded = decoded_[value];
    if (decoded == nullptr) {
      decoded = std::make_shared<const Weight>(Weight{decode(known->sparse()), {}});
    }
    return decoded;
  }

  // Prepares a node: constants reach its operator packed where it takes them so, else decoded;
  // notes which of them are read while the graph runs.
  void add_node(const Node& node, const std::string& label) {
    if (full_op_name(node) == "If") return add_if(node, label);
    if (is_control_flow(node)) return add_loop(node, label);
    const Operator* entry = find_operator(node.op, node.domain);
    if (entry == nullptr || entry->prepare == nullptr) {
      throw Error(Fault::kUnsupported, "the runtime does not know this operator");
    }
    // Operators take packed weights where they meet values of the run.
    const bool all_known = std::ranges::all_of(node.inputs, [&](ValueId input) {
      return input == kNoValue || constant(input) != nullptr;
    });
    PrepareContext context{node, opset_, {}};
    Holdings holdings;
    context.holdings = &holdings;
    context.observer = options_.observer;
    context.always_packed = options_.always_packed;
    context.measured = options_.measured;
    context.exact_values = options_.exact_values;
    context.stream = options_.stream;
    std::vector<std::shared_ptr<const Weight>> kept;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const Weight* weight = constant(node.inputs[i]);
      if (weight == nullptr) {
        context.constants.push_back(nullptr);
        continue;
      }
      const bool packed =
          !all_known && !options_.decode_weights && reaches_packed(*entry, node, i, *weight);
      kept.push_back(packed ? constants_.at(node.inputs[i]) : dense(node.inputs[i]));
      context.constants.push_back(kept.back().get());
    }
    auto step = make_step(node, label);
    step->inputs = node.inputs;
    step->run = entry->prepare(context);
    if (entry->half_as_f32) step->run = with_half_as_f32(std::move(step->run));
    runner_.weight_bytes_ += holdings.bytes;
    for (auto& [input, flag] : holdings.ran_dense)
      runner_.may_run_dense_.emplace_back(graph_.values[node.inputs[input]].name, std::move(flag));
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (context.constants[i] == nullptr) continue;
      const bool replaced = i < 64 && (holdings.replaced >> i & 1) != 0;
      bool& read = read_at_run_[node.inputs[i]];
      read = read || !replaced;
      if (replaced) give_back(*context.constants[i]);
    }
    runner_.steps_.push_back(std::move(step));
  }

  // A large weight of a file that nobody reads any more once an operator has made its copy. Where a
  // step reads it all the same, its pages come back.
  static void give_back(const Weight& weight) {
    constexpr size_t kWorthGiving = size_t{1} << 20;
    if (weight.is_sparse() || weight.dense().is_deferred()) return;
    if (weight.dense().byte_size() >= kWorthGiving) weight.give_back();
  }

  std::shared_ptr<Step> make_step(const Node& node, const std::string& label) const {
    auto step = std::make_shared<Step>();
    step->op = full_op_name(node);
    step->name = node.name;
    step->node = node.number != Node::kNoNumber ? node.number
                                                : static_cast<size_t>(&node - graph_.nodes.data());
    step->label = label;
    for (const ValueId output : node.outputs) {
      step->outputs.push_back(output != kNoValue && read_[output] ? output : kNoValue);
    }
    return step;
  }

  // The branch that the condition names runs as a graph of its own.
  void add_if(const Node& node, const std::string& label) {
    const Graph* yes = find_subgraph(node, "then_branch");
    const Graph* no = find_subgraph(node, "else_branch");
    if (node.inputs.size() != 1 || node.inputs[0] == kNoValue || yes == nullptr || no == nullptr) {
      throw Error(Fault::kFormat, "expected a condition and two branches");
    }
    auto step = make_step(node, label);
    step->inputs = {node.inputs[0]};
    if (constant(node.inputs[0]) != nullptr) read_at_run_[node.inputs[0]] = true;
    const auto yes_run = make_branch(*yes, node, step->inputs);
    const auto no_run = make_branch(*no, node, step->inputs);
    step->run = [yes_run, no_run](RunContext& context) {
      const TensorView& condition = context.input(0);
      if (condition.dtype != DType::kBool || condition.count() != 1) {
        throw Error(Fault::kFormat, "the condition is not one bool");
      }
      (*condition.data<uint8_t>() != 0 ? yes_run : no_run)(context);
    };
    runner_.steps_.push_back(std::move(step));
  }

  // A Loop or Scan.
  void add_loop(const Node& node, const std::string& label) {
    const Graph* graph = find_subgraph(node, "body");
    if (graph == nullptr) throw Error(Fault::kFormat, "expected a body");
    auto step = make_step(node, label);
    step->inputs = node.inputs;
    for (const ValueId input : node.inputs) {
      if (constant(input) != nullptr) read_at_run_[input] = true;
    }
    Body body = make_body(*graph, step->inputs);
    step->run = node.op == "Loop" ? make_loop(std::move(body), node)
                                  : make_scan(std::move(body), node, opset_);
    runner_.steps_.push_back(std::move(step));
  }

  // A body may run several times in a run, or not at all.
  static void refuse_recurrent(const Graph& graph) {
    for (const Node& node : graph.nodes) {
      const bool has_state = node.inputs.size() > 5 && node.inputs[5] != kNoValue;
      if (is_recurrent(node.op) && !has_state)
        throw Error(Fault::kUnsupported,
                    fmt::format("{} {} inside a subgraph cannot keep its state from run to run",
                                printable(node.op), printable(node.name)));
    }
  }

  // A subgraph as a graph of its own; what it reads from this one becomes inputs of the step.
  Body make_body(const Graph& graph, std::vector<ValueId>& step_inputs) {
    if (options_.stream != nullptr) refuse_recurrent(graph);
    OuterConstants outer;
    for (const std::string& name : captured_names(graph)) {
      const ValueId value = value_called(name);
      if (constant(value) != nullptr) outer[name] = constants_.at(value);
    }
    Body body{std::make_shared<GraphRunner>(graph, opset_, options_, runner_.pool_, outer),
              step_inputs.size(),
              {},
              {}};
    runner_.branches_.push_back(body.runner);
    for (const auto& capture : body.runner->captures()) {
      step_inputs.push_back(value_called(capture.first));
    }
    for (const ValueId input : graph.inputs) body.inputs.push_back(graph.values[input]);
    for (const ValueId output : graph.outputs) body.outputs.push_back(graph.values[output]);
    return body;
  }

  Run make_branch(const Graph& graph, const Node& node, std::vector<ValueId>& step_inputs) {
    if (graph.outputs.size() != node.outputs.size() || !graph.inputs.empty()) {
      throw Error(Fault::kFormat,
                  fmt::format("a branch has {} inputs and {} outputs, expected 0 and {}",
                              graph.inputs.size(), graph.outputs.size(), node.outputs.size()));
    }
    return [body = make_body(graph, step_inputs)](RunContext& context) {
      body.bind_captures(context);
      body.runner->run();
      for (size_t i = 0; i < body.outputs.size(); ++i) {
        if (!context.wants_output(i)) continue;
        const TensorView from = body.output(i);
        const TensorView to = context.output(i, from.dtype, from.dims);
        std::copy_n(from.bytes, from.count() * bytes_in_view(from.dtype), to.bytes);
      }
    };
  }

  void set_last_uses() {
    std::vector<size_t> last(values_, 0);
    for (size_t i = 0; i < runner_.steps_.size(); ++i) {
      for (const ValueId input : runner_.steps_[i]->inputs) {
        if (input != kNoValue) last[input] = i;
      }
    }
    for (const ValueId output : graph_.outputs) last[output] = RunMemory::kForever;
    for (size_t i = 0; i < runner_.steps_.size(); ++i) {
      Step& step = *runner_.steps_[i];
      for (const ValueId output : step.outputs) {
        step.last_use.push_back(output == kNoValue ? i : std::max(last[output], i));
      }
    }
    runner_.seconds_.assign(runner_.steps_.size(), 0);
  }

  // Views of constants: with their elements where steps read them or outputs show them.
  void keep_constants() {
    for (const ValueId output : graph_.outputs) {
      if (constants_.contains(output)) read_at_run_[output] = true;
    }
    for (const auto& [value, read] : read_at_run_) {
      if (!read) {
        const Weight& weight = *constants_.at(value);
        runner_.views_[value] = {weight.dtype(), Dims(weight.shape()), nullptr};
        continue;
      }
      Viewed constant = viewed(dense(value)->dense());
      runner_.views_[value] = constant.view;
      runner_.weight_bytes_ += constant.tensor.bytes().size();
      runner_.constants_.push_back(std::move(constant.tensor));
    }
  }

  GraphRunner& runner_;
  const Graph& graph_;
  int64_t opset_;
  const ExecutorOptions& options_;
  size_t values_ = 0;
  Scope scope_;
  std::map<std::string, ValueId, std::less<>> captured_;  // from the graphs around this one
  std::map<ValueId, std::shared_ptr<const Weight>> constants_, decoded_;
  std::map<ValueId, bool> read_at_run_;  // constants of steps: whether their elements are read
  std::vector<bool> read_;               // values that a needed node or an output reads
};

GraphRunner::GraphRunner(const Graph& graph, int64_t opset, const ExecutorOptions& options,
                         ThreadPool& pool, const OuterConstants& outer)
    : pool_(pool), profile_(options.profile), memory_(physical_memory()) {
  Builder(*this, graph, opset, options, outer).build();
}

}  // namespace espalier
