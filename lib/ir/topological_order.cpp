#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <queue>

#include "lib/base/check.h"
#include "lib/base/error.h"
#include "lib/ir/model.h"
#include "lib/ir/scope.h"

namespace espalier {
namespace {

constexpr size_t kNobody = SIZE_MAX;
constexpr size_t kMaxDepth = 100;  // of subgraphs in subgraphs, as protobuf's reader allows

std::string label(const Node& node) {
  return printable(node.name.empty() ? node.op : fmt::format("{} ({})", node.op, node.name));
}

[[noreturn]] void fail(std::string text) { throw Error(Fault::kFormat, std::move(text)); }

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

// Which nodes each node waits for.
class Sorter {
 public:
  Sorter(const Graph& graph, const OuterValues& outer)
      : graph_(graph),
        outer_(outer),
        maker_(makers(graph)),
        scope_(graph),
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
    return scope_.gives(value) || (outer_ && outer_(graph_.values[value].name));
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
    const auto names = outer_reads(sub, kMaxDepth);
    if (!names) fail(fmt::format("subgraphs are nested more than {} levels deep", kMaxDepth));
    for (const std::string_view name : *names) {
      if (const std::optional<ValueId> value = scope_.find(name)) {
        if (maker_[*value] != kNobody) wait_for(maker_[*value], node);
      } else if (!outer_ || !outer_(name)) {
        made_by_nobody(name, node);
      }
    }
  }

  [[noreturn]] void made_by_nobody(std::string_view name, size_t node) const {
    fail(fmt::format("value {}, read by node {}, is not defined", printable(name),
                     label(graph_.nodes[node])));
  }

  const Graph& graph_;
  const OuterValues& outer_;
  std::vector<size_t> maker_;  // by value
  Scope scope_;
  std::vector<size_t> waiting_;
  std::vector<std::vector<size_t>> readers_;
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
