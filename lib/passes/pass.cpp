#include "lib/passes/pass.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "lib/base/error.h"
#include "lib/ir/uses.h"

namespace espalier {
namespace {

// What the passes of one model share.
struct Shared {
  int64_t opset;
  ThreadPool& pool;
  size_t constant_folding_bytes;
  std::unordered_set<std::string> names;
};

// Runs a pass over the graph and then over its subgraphs, which see what it made of the graph.
void run_pass(const Pass& pass, Graph& graph, Shared& shared, Scope* outer, size_t depth) {
  if (depth > kMaxNesting) {
    throw Error(Fault::kUnsupported, fmt::format("subgraphs are nested {} levels deep", depth));
  }
  PassContext context{shared.opset, shared.pool, shared.constant_folding_bytes, shared.names,
                      outer};
  pass.run(graph, context);
  shared.constant_folding_bytes = context.constant_folding_bytes;
  std::optional<Scope> scope;  // made when the first subgraph asks
  for (Node& node : graph.nodes) {
    for (Attribute& attribute : node.attributes) {
      const Graph* sub = subgraph_of(attribute);
      if (sub == nullptr) continue;
      if (!scope) scope.emplace(graph, outer);
      Graph changed = *sub;
      run_pass(pass, changed, shared, &*scope, depth + 1);
      attribute.value = std::make_shared<const Graph>(std::move(changed));
    }
  }
}

void collect_names(const Graph& graph, size_t depth, std::unordered_set<std::string>& names) {
  if (depth > kMaxNesting) return;  // run_pass tells
  for (const Value& value : graph.values) names.insert(value.name);
  for (const Node& node : graph.nodes) {
    for_each_subgraph(node, [&](const Graph& sub) { collect_names(sub, depth + 1, names); });
  }
}

}  // namespace

std::span<const Pass* const> passes() {
  static constexpr std::array kPasses{
#define ESPALIER_PASS(name) &name##_pass,
#include "lib/passes/passes.def"
  };
  return kPasses;
}

PassOptions PassOptions::none() {
  PassOptions options;
  for (const Pass* pass : passes()) options.off.emplace(pass->name);
  return options;
}

PassOptions passes_without(std::span<const std::string> names) {
  const PassOptions all = PassOptions::none();
  PassOptions options;
  for (const std::string& name : names) {
    if (!all.off.contains(name)) {
      std::vector<std::string_view> known;
      for (const Pass* pass : passes()) known.push_back(pass->name);
      throw Error(Fault::kUsage, fmt::format("pass {} is unknown, expected one of {}",
                                             printable(name), fmt::join(known, ", ")));
    }
    options.off.insert(name);
  }
  return options;
}

Model with_passes(Model model, const PassOptions& options, ThreadPool& pool) {
  Shared shared{model.origin.opset, pool, kConstantFoldingBytes, {}};
  collect_names(model.graph, 1, shared.names);
  for (const Pass* pass : passes()) {
    if (options.on(pass->name)) run_pass(*pass, model.graph, shared, nullptr, 1);
  }
  return model;
}

}  // namespace espalier
