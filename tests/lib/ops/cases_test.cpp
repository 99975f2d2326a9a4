// Every case of testdata/ops: one node, its inputs, and the outputs of the ONNX reference
// evaluator.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <set>
#include <vector>

#include "formats/format.h"
#include "formats/npy/npy.h"
#include "lib/ops/operator.h"
#include "lib/runtime/executor.h"
#include "lib/sparse/pack.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

struct Case {
  std::string name;
  Model model;
  Feed inputs, outputs;
};

std::vector<Case> all_cases() {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(ESPALIER_SOURCE_DIR "/testdata/ops")) {
    if (entry.path().extension() == ".onnx") files.push_back(entry.path());
  }
  std::ranges::sort(files);
  std::vector<Case> cases;
  for (const fs::path& file : files) {
    Case one{file.parent_path().filename().string() + "/" + file.stem().string(),
             read_model(file),
             {},
             {}};
    for (auto& [name, tensor] : read_npz_file(fs::path(file).replace_extension(".npz"))) {
      (name.starts_with("input") ? one.inputs : one.outputs)[name] = tensor;
    }
    cases.push_back(std::move(one));
  }
  return cases;
}

// Sums of tens of products of numbers around 1, and functions of them: 1e-5 is rounding.
void check_same(const Tensor& wanted, const Tensor& got, double tolerance = 1e-5) {
  REQUIRE(wanted.dtype() == got.dtype());
  REQUIRE(wanted.shape() == got.shape());
  if (!is_float(wanted.dtype())) {
    CHECK(same_bits(wanted, got));
    return;
  }
  const std::vector<float> a = to_f32(wanted), b = to_f32(got);
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    if (a[i] == b[i]) continue;  // infinities
    const bool near = std::fabs(a[i] - b[i]) <= tolerance * (1 + std::fabs(a[i]));
    if (near) continue;
    CAPTURE(i);
    CHECK(a[i] == b[i]);
    return;
  }
}

void check_outputs(const Case& one, const Feed& got, double tolerance = 1e-5) {
  for (const auto& [name, wanted] : one.outputs) {
    CAPTURE(name);
    check_same(wanted, got.at(name), tolerance);
  }
}

// The model with the inputs that `chosen` picks turned into weights, and the feed that is left.
std::pair<Model, Feed> with_weights(const Case& one, const std::function<bool(size_t)>& chosen) {
  std::pair<Model, Feed> result{one.model, one.inputs};
  Graph& graph = result.first.graph;
  const Node& node = graph.nodes[0];
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (node.inputs[i] == kNoValue || !chosen(i)) continue;
    const std::string& name = graph.values[node.inputs[i]].name;
    graph.weights[node.inputs[i]] = {one.inputs.at(name), {}};
    std::erase(graph.inputs, node.inputs[i]);
    result.second.erase(name);
  }
  return result;
}

TEST_CASE("operators give the outputs of the reference evaluator") {
  for (const Case& one : all_cases()) {
    CAPTURE(one.name);
    Executor executor(one.model, {});
    check_outputs(one, executor.run(one.inputs));
    check_outputs(one, executor.run(one.inputs));  // from planned memory
  }
}

TEST_CASE("operators give the same with weights known before") {
  for (const Case& one : all_cases()) {
    CAPTURE(one.name);
    auto [model, feed] = with_weights(one, [](size_t input) { return input != 0; });
    check_outputs(one, Executor(model, {.threads = 2}).run(feed));
    auto [constant, nothing] = with_weights(one, [](size_t) { return true; });
    check_outputs(one, Executor(constant, {}).run(nothing));  // folded
  }
}

TEST_CASE("packed weights give what the dense ones give") {
  size_t packed = 0;
  for (const Case& one : all_cases()) {
    CAPTURE(one.name);
    const Node& node = one.model.graph.nodes[0];
    const Operator* entry = find_operator(node.op, node.domain);
    REQUIRE(entry != nullptr);
    if (entry->fold == nullptr) continue;
    for (size_t input = 0; input < node.inputs.size(); ++input) {
      if (node.inputs[input] == kNoValue) continue;
      const Tensor& dense = one.inputs.at(one.model.graph.values[node.inputs[input]].name);
      const std::optional<Fold> fold = entry->fold(node, input, dense.shape());
      if (!fold || dense.dtype() == DType::kF64) continue;  // f64 is never packed
      CAPTURE(input);
      for (const BlockShape block : {BlockShape{16, 1}, BlockShape{4, 8}, BlockShape{5, 3}}) {
        auto [model, feed] = with_weights(one, [input](size_t i) { return i == input; });
        const BlockMask kept = nonzero_blocks(dense, *fold, block, false);
        model.graph.weights.at(node.inputs[input]).value = pack_blocks(dense, *fold, kept, false);
        check_outputs(one, Executor(model, {}).run(feed));
        check_outputs(one, Executor(model, {.decode_weights = true}).run(feed));
        ++packed;
      }
    }
  }
  CHECK(packed > 200);
}

Tensor converted(const Tensor& tensor, DType dtype) {
  return from_f32(to_f32(tensor), dtype, tensor.shape());
}

TEST_CASE("f16 and bf16 give what f32 gives, rounded") {
  size_t run = 0;
  for (Case one : all_cases()) {
    const Node& node = one.model.graph.nodes[0];
    const Operator* entry = find_operator(node.op, node.domain);
    const bool all_f32 = std::ranges::all_of(
        one.inputs, [](const auto& input) { return input.second.dtype() == DType::kF32; });
    // Where a value decides (which is larger, which bin), rounding the inputs changes it.
    static const std::set<std::string> kDeciding{
        "ArgMax",      "ArgMin",         "Hardmax", "Equal", "Less",  "Greater",
        "LessOrEqual", "GreaterOrEqual", "Floor",   "Ceil",  "Round", "Mod",
        "Resize",      "Upsample",       "MaxPool", "Tan"};
    if (!entry->half_as_f32 || !all_f32 || kDeciding.contains(node.op)) continue;
    CAPTURE(one.name);
    for (const DType half : {DType::kF16, DType::kBF16}) {
      Case narrow = one;
      for (auto& [name, tensor] : narrow.inputs) tensor = converted(tensor, half);
      for (Value& value : narrow.model.graph.values) value.dtype = DType::kUnknown;
      const Feed got = Executor(narrow.model, {}).run(narrow.inputs);
      for (auto& [name, tensor] : narrow.outputs) {
        if (got.at(name).dtype() != half) continue;
        check_same(tensor, converted(got.at(name), DType::kF32), half == DType::kF16 ? 0.02 : 0.15);
        ++run;
      }
    }
  }
  CHECK(run > 200);
}

TEST_CASE("every operator but those without numbers to compare has a case") {
  std::set<std::string_view> tested;
  for (const Case& one : all_cases())
    tested.insert(find_operator(one.model.graph.nodes[0].op, "")->name);
  // Of opsets after 17 (BitCast, Swish), a Cast (CastLike), moved to the weights by readers
  // (Constant).
  const std::set<std::string_view> without{"BitCast", "CastLike", "Constant", "Swish"};
  for (const Operator* entry : operators()) {
    CAPTURE(entry->name);
    if (entry->domain == kFusedDomain) continue;  // tests/lib/passes
    CHECK(tested.contains(entry->name) != without.contains(entry->name));
  }
}

}  // namespace
}  // namespace espalier
