#include "lib/ops/epilogue.h"

#include <algorithm>
#include <utility>

#include "lib/ops/op_util.h"

namespace espalier {
namespace {

constexpr const char *kStages = "stages", *kAlpha = "stage_alpha", *kBeta = "stage_beta";

// Longer chains are no activations; and each further stage copies the ones before.
constexpr size_t kMostStages = 8;

// Remembers where output 0 lies.
class OutputContext final : public RunContext {
 public:
  explicit OutputContext(RunContext& inner) : inner_(inner) {}

  size_t inputs() const override { return inner_.inputs(); }
  bool has_input(size_t index) const override { return inner_.has_input(index); }
  const TensorView& input(size_t index) const override { return inner_.input(index); }
  bool wants_output(size_t index) const override { return inner_.wants_output(index); }
  TensorView output(size_t index, DType dtype, const Dims& dims) override {
    const TensorView view = inner_.output(index, dtype, dims);
    if (index == 0) first_ = view;
    return view;
  }
  // Products never alias.
  void alias(size_t, size_t, const Dims&) override { unsupported("an alias before an epilogue"); }
  std::byte* scratch(size_t bytes) override { return inner_.scratch(bytes); }
  ThreadPool& pool() override { return inner_.pool(); }

  const TensorView& first() const { return first_; }

 private:
  RunContext& inner_;
  TensorView first_{DType::kF32, {0}, nullptr};
};

}  // namespace

Run with_epilogue(Run run, const Node& node) {
  Epilogue epilogue(node);
  if (epilogue.empty()) return run;
  return [run = std::move(run), epilogue = std::move(epilogue)](RunContext& context) {
    OutputContext outer(context);
    run(outer);
    const TensorView& y = outer.first();
    if (y.dtype != DType::kF32) unsupported_type(y.dtype);
    epilogue.apply({y.data<float>(), y.count()}, context.pool());
  };
}

Epilogue::Epilogue(const Node& node) {
  const auto names = strings_attribute(node, kStages, {});
  const auto alpha = floats_attribute(node, kAlpha, {}), beta = floats_attribute(node, kBeta, {});
  if (alpha.size() != names.size() || beta.size() != names.size()) {
    fail("{} stages with {} and {} numbers", names.size(), alpha.size(), beta.size());
  }
  for (size_t i = 0; i < names.size(); ++i) {
    const StageFunction* function = find_stage(names[i]);
    if (function == nullptr) fail("stage {} is not known", printable(names[i]));
    stages_.push_back({function->run, alpha[i], beta[i]});
  }
}

std::optional<EpilogueStage> unary_stage(const Node& node) {
  std::string name = node.op;
  if (name == "Clip" || name == "Affine" || name == "GeluTanh") return std::nullopt;
  if (name == "Gelu") {
    const std::string kind = string_attribute(node, "approximate", "none");
    if (kind != "none" && kind != "tanh") return std::nullopt;
    if (kind == "tanh") name = "GeluTanh";
  }
  const StageFunction* entry = find_stage(name);
  if (entry == nullptr) return std::nullopt;
  return EpilogueStage{name, float_attribute(node, "alpha", entry->alpha),
                       float_attribute(node, "beta", entry->beta)};
}

bool add_stage(Node& node, const EpilogueStage& stage) {
  auto names = strings_attribute(node, kStages, {});
  auto alpha = floats_attribute(node, kAlpha, {}), beta = floats_attribute(node, kBeta, {});
  if (names.size() >= kMostStages) return false;
  names.push_back(stage.name);
  alpha.push_back(stage.alpha);
  beta.push_back(stage.beta);
  set_attribute(node, kStages, std::move(names));
  set_attribute(node, kAlpha, std::move(alpha));
  set_attribute(node, kBeta, std::move(beta));
  return true;
}

}  // namespace espalier
