// Functions expanded for the runtime.

#include <map>
#include <numeric>

#include "formats/format.h"
#include "lib/ops/operator.h"
#include "lib/runtime/executor.h"
#include "tests/formats/onnx/onnx_cases.h"

namespace espalier {
namespace {

std::vector<std::string> operators_of(const Model& model) {
  std::vector<std::string> result;
  for (const Node& node : model.graph.nodes) result.push_back(full_op_name(node));
  return result;
}

std::vector<float> run(const Model& model, const std::vector<float>& x, const Shape& shape) {
  Executor executor(model, {});
  return to_f32(executor.run({{"x", Tensor::of<float>(shape, x)}}).at("y"));
}

TEST_CASE("a model's own functions run, with the defaults of their attributes") {
  const Model model = read_proto(model_of(R"(
    <ir_version: 9, opset_import: ["" : 17, "local" : 1]>
    net (float[2] x) => (float[2] y) { t = local.scaled (x)  y = local.scaled <by = 10.0> (t) }
    <domain: "local", opset_import: ["" : 17, "local" : 1]>
    scaled <by: float = 3.0> (a) => (b) { c = local.negated (a)  k = Constant <value_float: float = @by> ()  b = Mul (c, k) }
    <domain: "local", opset_import: ["" : 17]>
    negated (a) => (b) { b = Neg (a) })"));
  CHECK(unsupported_operators(model).size() == 2);
  const Model expanded = runnable(model);
  CHECK(unsupported_operators(expanded).empty());
  CHECK(run(expanded, {1, -2}, {2}) == std::vector<float>{30, -60});
}

TEST_CASE("operators that ONNX defines by others run as those, with default attributes") {
  // Normalised over [N, H, W] for each channel, which is what the default axes [0, 2, 3] say.
  const Model model = read_proto(model_of(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[1, 2, 1, 2] x) => (float[1, 2, 1, 2] y) { y = MeanVarianceNormalization (x) })"));
  const std::vector<float> got = run(runnable(model), {1, 3, 10, 30}, {1, 2, 1, 2});
  for (const size_t i : {0, 1, 2, 3}) CHECK(got[i] == doctest::Approx(i % 2 == 0 ? -1 : 1));
}

TEST_CASE("weights stay out of the rewriting, dense or packed, and what needs nothing stays") {
  pb::ModelProto proto = model_of(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[4, 50] x, float[50, 50] w) => (float[4, 50] y) {
      m = MatMul (x, w)
      y = MeanVarianceNormalization <axes = [0]> (m)
    })");
  Model large = read_proto(proto);
  const ValueId w = large.graph.inputs.back();
  large.graph.inputs.pop_back();
  std::vector<float> values(2500);
  std::iota(values.begin(), values.end(), 0.0F);
  large.graph.weights[w] = {Tensor::of<float>({50, 50}, values), {}};
  const Model expanded = runnable(large);
  REQUIRE(expanded.graph.inputs.size() == 1);
  size_t found = 0;
  for (const auto& [id, weight] : expanded.graph.weights) {
    if (expanded.graph.values[id].name != "w") continue;
    CHECK(weight.dense().bytes().data() == large.graph.weights[w].dense().bytes().data());
    ++found;
  }
  CHECK(found == 1);
  CHECK(operators_of(expanded).front() == "MatMul");

  const Model plain = read_proto(model_of(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[2] x) => (float[2] y) { y = Relu (x) })"));
  CHECK(runnable(plain).origin.extra == plain.origin.extra);
}

TEST_CASE("a call whose body needs what nobody runs stays, under its own name") {
  const Model model = read_proto(model_of(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[2] x) => (float[2] y) { y = Bernoulli (x) })"));
  CHECK(operators_of(runnable(model)) == std::vector<std::string>{"Bernoulli"});
}

TEST_CASE("functions that nest too deep or grow without bound are refused") {
  const auto refused = [](const std::string& functions) -> std::string {
    const std::string text = R"(
      <ir_version: 9, opset_import: ["" : 17, "local" : 1]>
      net (float[2] x) => (float[2] y) { y = local.f0 (x) })" +
                             functions;
    try {
      runnable(read_proto(model_of(text.c_str())));
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  const auto function = [](const std::string& name, const std::string& calls) {
    return "<domain: \"local\", opset_import: [\"\" : 17, \"local\" : 1]> " + name +
           " (a) => (b) { t = local." + calls + " (a)  b = local." + calls + " (t) }\n";
  };
  std::string chain;
  for (int i = 0; i < 70; ++i)
    chain += function("f" + std::to_string(i), "f" + std::to_string(i + 1));
  chain += "<domain: \"local\", opset_import: [\"\" : 17]> f70 (a) => (b) { b = Neg (a) }";
  CHECK(refused(chain).ends_with("functions are nested more than 64 levels deep"));
  std::string doubling;
  for (int i = 0; i < 40; ++i)
    doubling += function("f" + std::to_string(i), "f" + std::to_string(i + 1));
  doubling += "<domain: \"local\", opset_import: [\"\" : 17]> f40 (a) => (b) { b = Neg (a) }";
  CHECK(refused(doubling).ends_with("its functions expand to more than 1000000 nodes"));
}

}  // namespace
}  // namespace espalier
