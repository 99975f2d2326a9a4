#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/kernels/elementwise/stages.h"
#include "lib/ops/operator.h"

namespace espalier {

/// A function of each element with up to two numbers: "Relu", "Clip" (alpha: low, beta: high),
/// "Affine" (alpha x + beta), ...
struct EpilogueStage {
  std::string name;
  float alpha = 0, beta = 0;
};

/// What a product of domain "fused" does with its f32 results: stages one after the other.
class Epilogue {
 public:
  Epilogue() = default;
  /// The stages in a node's attributes; none where it has none.
  /// Errors  Fault::kFormat for a stage that is not known, or numbers that are not one a stage.
  explicit Epilogue(const Node& node);

  bool empty() const { return stages_.empty(); }
  /// In place; results do not depend on threads.
  void apply(std::span<float> y, ThreadPool& pool) const { apply_stages(stages_, y, pool); }

 private:
  std::vector<StageCall> stages_;
};

/// `run`, followed by the stages in the node's attributes on its first output (f32).
Run with_epilogue(Run run, const Node& node);

/// The stage that an operator of one input is, with the numbers in its attributes.
std::optional<EpilogueStage> unary_stage(const Node& node);
/// Appends a stage to a node's attributes; false where it has as many as it may have.
bool add_stage(Node& node, const EpilogueStage& stage);

}  // namespace espalier
