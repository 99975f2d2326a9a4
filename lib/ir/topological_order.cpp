#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <queue>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "lib/base/check.h"
#include "lib/base/error.h"
#include "lib/ir/model.h"

namespace espalier {
namespace {

constexpr size_t kNobody = SIZE_MAX;
constexpr size_t kMaxDepth = 100;  // of subgraphs in subgraphs, as protobuf's reader allows

std::string label(const Node& node) {
  return printable(node.name.empty() ? node.op : fmt::format("{} ({})", node.op, node.name));
}

[[noreturn]] void fail(std::string text) { throw Error(Fault::kFormat, std::move(text)); }

template <typename Visit>
void for_each_subgraph(const Node& node, const Visit& visit) {
  for (const Attribute& attribute : node.attributes) {
    const auto* sub = std::get_if<std::shared_ptr<const Graph>>(&attribute.value);
    if (sub != nullptr && *sub != nullptr) visit(**sub);
  }
}

// Inputs and weights: what is there before any node has run.
std::vector<bool> given_values(const Graph& graph) {
  std::vector<bool> given(graph.values.size(), false);
  for (const ValueId input : graph.inputs) given.at(input) = true;
  for (const auto& [value, weight] : graph.weights) given.at(value) = true;
  return given;
}

// The node that makes each value; kNobody for given ones and those that nobody makes. The value of
// a Constant node lies among the weights and is still that node's.
std::vector<size_t> makers(const Graph& graph) {
  std::vector<bool> is_input(graph.values.size(), false);
  for (const ValueId input : graph.inputs) is_input.at(input) = true;
  std::vector<size_t> maker(graph.values.size(), kNobody);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    for (const ValueId output : node.outputs) {
      if (output == kNoValue) continue;
      ESPALIER_CHECK(output < graph.values.size());
      const bool of_another = graph.weights.contains(output) && node.op != "Constant";
      if (maker[output] != kNobody || is_input[output] || of_another) {
        fail(fmt::format("value {} is defined twice, the second time by node {}",
                         printable(graph.values[output].name), label(node)));
      }
      maker[output] = i;
    }
  }
  return maker;
}

using Names = std::unordered_set<std::string_view>;

// Names that `graph` and the subgraphs in it read from around it.
void collect_outer_reads(const Graph& graph, size_t depth, Names& reads) {
  if (depth > kMaxDepth)
    fail(fmt::format("subgraphs are nested more than {} levels deep", kMaxDepth));
  std::vector<bool> own = given_values(graph);
  for (const Node& node : graph.nodes) {
    for (const ValueId output : node.outputs) {
      if (output != kNoValue) own.at(output) = true;
    }
  }
  Names wanted;
  const auto want = [&](ValueId value) {
    if (value != kNoValue && !own.at(value)) wanted.insert(graph.values[value].name);
  };
  for (const Node& node : graph.nodes) {
    std::ranges::for_each(node.inputs, want);
    for_each_subgraph(node, [&](const Graph& sub) { collect_outer_reads(sub, depth + 1, wanted); });
  }
  std::ranges::for_each(graph.outputs, want);
  for (size_t i = 0; i < own.size(); ++i) {
    if (own[i]) wanted.erase(graph.values[i].name);
  }
  reads.merge(wanted);
}

// Which nodes each node waits for.
class Sorter {
 public:
  Sorter(const Graph& graph, const OuterValues& outer)
      : graph_(graph),
        outer_(outer),
        maker_(makers(graph)),
        given_(given_values(graph)),
        waiting_(graph.nodes.size(), 0),
        readers_(graph.nodes.size()) {
    for (size_t i = 0; i < graph.nodes.size(); ++i) {
      for (const ValueId input : graph.nodes[i].inputs) {
        if (input != kNoValue) read(input, i);
      }
      for_each_subgraph(graph.nodes[i], [&](const Graph& sub) { read_from_inside(sub, i); });
    }
    for (const ValueId output : graph.outputs) {
      ESPALIER_CHECK(output < graph.values.size());
      if (!is_there(output)) {
        fail(fmt::format("value {}, an output of the graph, is not defined",
                         printable(graph.values[output].name)));
      }
    }
  }

  // Kahn's algorithm with the lowest node first, so that a sorted graph keeps its order.
  std::vector<size_t> order() {
    std::priority_queue<size_t, std::vector<size_t>, std::greater<>> ready;
    for (size_t i = 0; i < waiting_.size(); ++i) {
      if (waiting_[i] == 0) ready.push(i);
    }
    std::vector<size_t> order;
    order.reserve(waiting_.size());
    while (!ready.empty()) {
      order.push_back(ready.top());
      ready.pop();
      for (const size_t reader : readers_[order.back()]) {
        if (--waiting_[reader] == 0) ready.push(reader);
      }
    }
    if (order.size() == waiting_.size()) return order;
    const auto stuck = std::ranges::find_if(waiting_, [](size_t w) { return w != 0; });
    fail(fmt::format(
        "node {} is part of a cycle or reads from one: its inputs depend on its outputs",
        label(graph_.nodes[static_cast<size_t>(stuck - waiting_.begin())])));
  }

 private:
  bool is_there(ValueId value) const {
    return maker_[value] != kNobody || given_[value] ||
           (outer_ && outer_(graph_.values[value].name));
  }

  void wait_for(size_t maker, size_t node) {
    readers_[maker].push_back(node);
    ++waiting_[node];
  }

  void read(ValueId value, size_t node) {
    ESPALIER_CHECK(value < graph_.values.size());
    if (!is_there(value)) made_by_nobody(graph_.values[value].name, node);
    if (maker_[value] != kNobody) wait_for(maker_[value], node);
  }

  void read_from_inside(const Graph& sub, size_t node) {
    Names names;
    collect_outer_reads(sub, 1, names);
    // In the order of the alphabet, so that the same file gives the same error.
    for (const std::string_view name : std::set<std::string_view>(names.begin(), names.end())) {
      const auto found = values_by_name().find(name);
      if (found != values_by_name().end()) {
        if (maker_[found->second] != kNobody) wait_for(maker_[found->second], node);
      } else if (!outer_ || !outer_(name)) {
        made_by_nobody(name, node);
      }
    }
  }

  // Of the values that are there; made when the first subgraph asks.
  const std::unordered_map<std::string_view, ValueId>& values_by_name() {
    if (!by_name_) {
      by_name_.emplace();
      for (ValueId value = 0; value < graph_.values.size(); ++value) {
        if (maker_[value] != kNobody || given_[value])
          by_name_->emplace(graph_.values[value].name, value);
      }
    }
    return *by_name_;
  }

  [[noreturn]] void made_by_nobody(std::string_view name, size_t node) const {
    fail(fmt::format("value {}, read by node {}, is not defined", printable(name),
                     label(graph_.nodes[node])));
  }

  const Graph& graph_;
  const OuterValues& outer_;
  std::vector<size_t> maker_;  // by value
  std::vector<bool> given_;    // by value
  std::vector<size_t> waiting_;
  std::vector<std::vector<size_t>> readers_;
  std::optional<std::unordered_map<std::string_view, ValueId>> by_name_;
};

}  // namespace

void validate_and_sort(Graph& graph, const OuterValues& outer) {
  const std::vector<size_t> order = Sorter(graph, outer).order();
  std::vector<Node> sorted;
  sorted.reserve(order.size());
  for (const size_t i : order) sorted.push_back(std::move(graph.nodes[i]));
  graph.nodes = std::move(sorted);
}

}  // namespace espalier
