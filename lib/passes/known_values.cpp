#include "lib/passes/known_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>

#include "lib/base/error.h"
#include "lib/ir/node_kinds.h"
#include "lib/ir/uses.h"
#include "lib/ops/run_once.h"
#include "lib/passes/pass.h"

namespace espalier {
namespace {

std::unique_ptr<KnownGraph> known_graph(const Graph& graph, KnownGraph* outer, size_t depth) {
  if (depth > kMaxNesting) {
    throw Error(Fault::kUnsupported, fmt::format("subgraphs are nested {} levels deep", depth));
  }
  auto scope = std::make_unique<KnownGraph>(graph, outer);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const std::vector<Attribute>& attributes = graph.nodes[i].attributes;
    for (size_t a = 0; a < attributes.size(); ++a) {
      if (const Graph* sub = subgraph_of(attributes[a]); sub != nullptr) {
        scope->inner[{i, a}] = known_graph(*sub, scope.get(), depth + 1);
      }
    }
  }
  return scope;
}

bool is_known(const Place& place) {
  if (place.scope == nullptr || place.scope->input[place.value]) return false;
  const Weight* weight = weight_at(place);
  if (weight != nullptr) return !weight->is_sparse() && has_view(weight->dtype());
  return place.scope->known[place.value];
}

void find_known(KnownGraph& scope) {
  walk(
      scope, false,
      [&](const Node& node, size_t) {
        if (runnable_operator(node) == nullptr) return;
        const bool all = std::ranges::all_of(node.inputs, [&](ValueId input) {
          return input == kNoValue || is_known(place_in(scope, input));
        });
        for (const ValueId output : node.outputs) {
          if (output != kNoValue) scope.known[output] = all;
        }
      },
      find_known);
}

void mark_needed(KnownGraph& scope) {
  walk(
      scope, true,
      [&](const Node& node, size_t) {
        const Operator* entry = runnable_operator(node);
        const bool on_the_way = std::ranges::any_of(node.outputs, [&](ValueId output) {
          return output != kNoValue && scope.needed[output];
        });
        if (!on_the_way && (entry == nullptr || entry->fold == nullptr)) return;
        for (const ValueId input : node.inputs) {
          const Place place = place_in(scope, input);
          if (is_known(place)) place.scope->needed[place.value] = true;
        }
      },
      mark_needed);
}

// Runs what is needed, in order.
class Evaluation {
 public:
  Evaluation(int64_t opset, ThreadPool& pool) : opset_(opset), pool_(pool) {}

  void run(KnownGraph& scope) {
    walk(
        scope, false,
        [&](const Node& node, size_t) {
          const bool needed = std::ranges::any_of(node.outputs, [&](ValueId output) {
            return output != kNoValue && scope.needed[output] && scope.known[output] &&
                   !scope.graph().weights.contains(output);
          });
          if (needed) make(scope, node);
        },
        [this](KnownGraph& inner) { run(inner); });
  }

 private:
  // Runs one node on what is known and notes its outputs and the float constants that they are made
  // of. Nodes that fail, or whose inputs were not made, make nothing.
  void make(KnownGraph& scope, const Node& node) {
    std::deque<Weight> computed;
    std::vector<const Weight*> inputs;
    std::set<const Weight*> sources;
    for (const ValueId input : node.inputs) {
      const Place place = place_in(scope, input);
      if (place.scope == nullptr) {
        inputs.push_back(nullptr);
        continue;
      }
      if (const Weight* weight = weight_at(place); weight != nullptr) {
        inputs.push_back(weight);
        if (is_float(weight->dtype())) sources.insert(weight);
        continue;
      }
      const auto made = place.scope->made.find(place.value);
      if (made == place.scope->made.end()) return;
      inputs.push_back(&computed.emplace_back(Weight{made->second.value, {}}));
      sources.insert(made->second.sources.begin(), made->second.sources.end());
    }
    std::optional<std::vector<Tensor>> results;
    try {
      results = run_once(*runnable_operator(node), node, opset_, inputs, pool_, bytes_left_);
    } catch (const Error&) {
      return;  // tells where it runs
    }
    if (!results) return;
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      if (node.outputs[i] == kNoValue) continue;
      bytes_left_ -= std::min(bytes_left_, (*results)[i].bytes().size());
      scope.made[node.outputs[i]] = {std::move((*results)[i]), sources, {}};
    }
  }

  int64_t opset_;
  ThreadPool& pool_;
  size_t bytes_left_ = kConstantFoldingBytes;
};

}  // namespace

std::unique_ptr<KnownGraph> known_graph(const Graph& graph) {
  return known_graph(graph, nullptr, 1);
}

void evaluate_known(KnownGraph& graph, int64_t opset, ThreadPool& pool) {
  find_known(graph);
  mark_needed(graph);
  Evaluation(opset, pool).run(graph);
}

const Weight* weight_at(const Place& place) {
  return find_weight(place.scope->graph(), place.value);
}

const Operator* runnable_operator(const Node& node) {
  const Operator* entry = find_operator(node.op, node.domain);
  return entry == nullptr || entry->prepare == nullptr || is_control_flow(node) ? nullptr : entry;
}

}  // namespace espalier
