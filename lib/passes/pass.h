#pragma once

#include <cstddef>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>

#include "lib/base/thread_pool.h"
#include "lib/ir/model.h"
#include "lib/ir/scope.h"

namespace espalier {

/// What a pass may use besides the graph.
struct PassContext {
  int64_t opset;
  ThreadPool& pool;
  size_t constant_folding_bytes;           ///< left for values that constant folding makes
  std::unordered_set<std::string>& names;  ///< of all values of the model: new ones are others
  Scope* outer;                            ///< of the graph around a subgraph; else null
};

/// A rewriting of a graph that leaves what it computes, to rounding. A pass sees one graph at a
/// time (subgraphs by themselves, after the graph around them); inputs, outputs and their names
/// stay, NaN stays NaN, and a packed weight stays packed where the operator that reads it could
/// take it packed before. Nodes of kFusedDomain exist only behind a pass: no file holds them.
struct Pass {
  std::string_view name, summary;
  void (*run)(Graph& graph, PassContext& context) = nullptr;
};

#define ESPALIER_PASS(name) extern const Pass name##_pass;
#include "lib/passes/passes.def"

/// All passes in the order in which they run.
std::span<const Pass* const> passes();

/// Which passes run.
struct PassOptions {
  std::set<std::string, std::less<>> off;

  static PassOptions none();
  bool on(std::string_view name) const { return !off.contains(name); }
};

/// Errors  Fault::kUsage for a name that no pass has, listing those that there are.
PassOptions passes_without(std::span<const std::string> names);

/// What the values that constant folding makes may take, all together.
inline constexpr size_t kConstantFoldingBytes = size_t{256} << 20;

/// The model as the runtime is to run it; never written to a file.
/// Errors  Fault::kUnsupported where subgraphs are nested too deep.
Model with_passes(Model model, const PassOptions& options, ThreadPool& pool);

}  // namespace espalier
