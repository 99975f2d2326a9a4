#include "lib/passes/pass.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "lib/base/error.h"
#include "lib/ir/uses.h"

namespace espalier {
namespace {

bool has_subgraphs(const Graph& graph) {
  return std::ranges::any_of(graph.nodes, [](const Node& node) {
    return std::ranges::any_of(node.attributes, [](const Attribute& attribute) {
      return std::holds_alternative<std::shared_ptr<const Graph>>(attribute.value);
    });
  });
}

// What subgraphs of `graph` see: its constants, and those around it whose names it does not use.
VisibleConstants seen_inside(const Graph& graph, const VisibleConstants& outer) {
  VisibleConstants result = outer;
  const auto hide = [&](ValueId value) {
    if (value != kNoValue) result.erase(graph.values[value].name);
  };
  std::ranges::for_each(graph.inputs, hide);
  for (const Node& node : graph.nodes) std::ranges::for_each(node.outputs, hide);
  for (const auto& [value, weight] : graph.weights) {
    result.insert_or_assign(graph.values[value].name, &weight);
  }
  return result;
}

// What the passes of one model share.
struct Shared {
  int64_t opset;
  ThreadPool& pool;
  size_t folding_bytes;
  std::unordered_set<std::string> names;
};

void run_pass(const Pass& pass, Graph& graph, Shared& shared, const VisibleConstants& outer,
              size_t depth) {
  if (depth > kMaxNesting) {
    throw Error(Fault::kUnsupported, fmt::format("subgraphs are nested {} levels deep", depth));
  }
  PassContext context{shared.opset, shared.pool, shared.folding_bytes, shared.names, outer};
  pass.run(graph, context);
  shared.folding_bytes = context.folding_bytes;
  if (!has_subgraphs(graph)) return;
  const VisibleConstants inside = seen_inside(graph, outer);
  for (Node& node : graph.nodes) {
    for (Attribute& attribute : node.attributes) {
      auto* sub = std::get_if<std::shared_ptr<const Graph>>(&attribute.value);
      if (sub == nullptr || *sub == nullptr) continue;
      Graph changed = **sub;
      run_pass(pass, changed, shared, inside, depth + 1);
      *sub = std::make_shared<const Graph>(std::move(changed));
    }
  }
}

void collect_names(const Graph& graph, size_t depth, std::unordered_set<std::string>& names) {
  if (depth > kMaxNesting) return;  // run_pass tells
  for (const Value& value : graph.values) names.insert(value.name);
  for (const Node& node : graph.nodes) {
    for (const Attribute& attribute : node.attributes) {
      const auto* sub = std::get_if<std::shared_ptr<const Graph>>(&attribute.value);
      if (sub != nullptr && *sub != nullptr) collect_names(**sub, depth + 1, names);
    }
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
  Shared shared{model.origin.opset, pool, kFoldingBytes, {}};
  collect_names(model.graph, 1, shared.names);
  for (const Pass* pass : passes()) {
    if (options.on(pass->name)) run_pass(*pass, model.graph, shared, {}, 1);
  }
  return model;
}

}  // namespace espalier
