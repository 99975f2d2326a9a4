// graph.quant: stored integers become what they stand for, other tensors go through the operation.
#include <doctest/doctest.h>

#include <cmath>

#include "lib/runtime/executor.h"
#include "tests/formats/nnef/read/cases.h"

namespace espalier::nnef {
namespace {

Tensor integers(DType dtype, Shape shape, const std::vector<int>& values) {
  Tensor result = Tensor::zeros(dtype, std::move(shape));
  for (size_t i = 0; i < values.size(); ++i) {
    result.mutable_bytes()[i] = static_cast<std::byte>(values[i]);
  }
  return result;
}

// y = x * w with w in the file as these bytes.
constexpr const char* kProduct =
    "version 1.0;\nextension KHR_enable_operator_expressions;\n"
    "graph g( x ) -> ( y )\n{\n  x = external(shape = [2, 3]);\n"
    "  w = variable(shape = [2, 3], label = 'fc/w');\n  y = x * w;\n}\n";

Model product(const std::string& quantization, DType dtype, const std::vector<int>& values) {
  return read_text(kProduct, {{"fc/w", integers(dtype, {2, 3}, values)}}, quantization);
}

std::vector<float> weight_of(const Model& model) {
  const Weight* weight = weight_named(model.graph, "fc/w");
  REQUIRE(weight != nullptr);
  REQUIRE(weight->dtype() == DType::kF32);
  return to_f32(weight->dense());
}

std::vector<float> run(const Model& model, const Tensor& x) {
  Executor executor(model, {});
  return to_f32(executor.run({{"x", x}}).at("y"));
}

std::string error_of(const std::string& quantization, DType dtype = DType::kU8) {
  try {
    product(quantization, dtype, {1, 2, 3, 4, 5, 6});
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("stored integers with a zero point") {
  const Model model = product(
      "# weights\n\"w\": zero_point_linear_quantize(zero_point = 128, scale = 0.5, bits = 8,\n"
      "  signed = false, symmetric = false);\n",
      DType::kU8, {0, 1, 128, 129, 255, 130});
  CHECK(weight_of(model) == std::vector<float>{-64, -63.5, 0, 0.5, 63.5, 1});
  CHECK(model.graph.nodes.size() == 1);
  // One scale and zero point for each row, and one scale for each column.
  CHECK(weight_of(product("'w': zero_point_linear_quantize(zero_point = [[1], [-1]], scale = "
                          "[[1.0], [2.0]], bits = 8, signed = true, symmetric = false);",
                          DType::kI8, {1, 2, -3, 1, 2, -3})) ==
        std::vector<float>{0, 1, -4, 4, 6, -4});
  CHECK(weight_of(product("'w': zero_point_linear_quantize(zero_point = 0, scale = "
                          "[[1.0, 2.0, 4.0]], bits = 8, signed = true, symmetric = true);",
                          DType::kI8, {1, 2, -3, 1, 2, -3})) ==
        std::vector<float>{1, 4, -12, 1, 4, -12});
}

TEST_CASE("stored integers with a range") {
  CHECK(weight_of(product("'w': linear_quantize(min = -1.0, max = 1.0, bits = 8);", DType::kU8,
                          {0, 255, 51, 102, 153, 204})) ==
        std::vector<float>{-1, 1, -0.6F, -0.2F, 0.2F, 0.6F});
  CHECK(weight_of(product("'w': linear_quantize(min = 0.0, max = 255.0, bits = 8);", DType::kI8,
                          {-128, 127, 0, 1, -1, 2})) ==
        std::vector<float>{0, 255, 128, 129, 127, 130});
  CHECK(weight_of(product("'w': min_max_linear_quantize(min = -127.0, max = 127.0, bits = 8, "
                          "signed = true, symmetric = true);",
                          DType::kI8, {-127, 127, 0, 1, -1, 2})) ==
        std::vector<float>{-127, 127, 0, 1, -1, 2});
}

TEST_CASE("tensors that are no stored integers go through the operation") {
  const Model model = read_text(
      kProduct, {{"fc/w", ramp({2, 3})}},
      "'x': zero_point_linear_quantize(zero_point = 0, scale = 0.5, bits = 3, signed = true, "
      "symmetric = true);\n'y': linear_quantize(min = 0.0, max = 255.0, bits = 8);");
  // x to steps of 0.5 from -1.5 to 1.5, y to whole numbers from 0 to 255.
  const Tensor x = Tensor::of<float>({2, 3}, std::vector<float>{0.2F, 0.3F, 9, -9, 0.8F, 60});
  CHECK(run(model, x) == std::vector<float>{0, 1, 5, 0, 5, 9});
  const Graph& graph = model.graph;
  CHECK(graph.values[graph.inputs[0]].name == "x");
  CHECK(graph.values[graph.outputs[0]].name == "y");
}

TEST_CASE("a fragment of the graph quantizes too, of tensors but not of stored integers") {
  const std::string fragment =
      "fragment half( x: tensor<scalar>, step: scalar ) -> ( y: tensor<scalar> )\n"
      "{ y = floor(x / step) * step; }\n";
  std::string text = kProduct;
  text.insert(text.find("graph g"), "extension KHR_enable_fragment_definitions;\n" + fragment);
  const Model model = read_text(text, {{"fc/w", ramp({2, 3})}}, "'y': half(step = 2.0);");
  CHECK(run(model, ramp({2, 3})) == std::vector<float>{0, 4, 8, 16, 24, 36});
  CHECK_THROWS_WITH(
      read_text(text, {{"fc/w", integers(DType::kU8, {2, 3}, {})}}, "'w': half(step = 2.0);"),
      "graph.quant: 1:6: half of stored integers is not supported");
}

TEST_CASE("errors of graph.quant say line and column") {
  CHECK(error_of("w: linear_quantize();") ==
        "1:1: expected the quoted name of a tensor, found 'w'");
  CHECK(error_of("'w': linear_quantize(min = 0.0)") ==
        "1:32: expected ';', found the end of the text");
  CHECK(error_of("'w': linear_quantize(0.0);") == "1:6: arguments of a quantization must be named");
  CHECK(error_of("'w': quantize;") == "1:6: expected a quantization operation with its arguments");
  const std::string entry = "'w': linear_quantize(min = 0.0, max = 1.0, bits = 8);\n";
  CHECK(error_of(entry + entry) == "2:1: tensor 'w' has duplicate entries");
  CHECK(error_of("\n'w': quantize(bits = 8);") ==
        "graph.quant: 2:6: no quantization operation quantize takes a tensor");
  CHECK(error_of("'w': linear_quantize(min = 0.0, max = 1.0, bits = 9);") ==
        "graph.quant: 1:6: linear_quantize: bits is 9, the items have 8");
  CHECK(error_of("'w': linear_quantize(min = 0.0, bits = 8);") ==
        "graph.quant: 1:6: argument of linear_quantize is missing: max");
  CHECK(error_of("'w': linear_quantize(min = [0.0, 1.0, 2.0], max = 1.0, bits = 8);") ==
        "graph.quant: 1:6: linear_quantize: min is [3] for a tensor of [2, 3]");
  CHECK(error_of("'w': linear_quantize(min = x, max = 1.0, bits = 8);") ==
        "graph.quant: 1:28: x is used before it is assigned");
  CHECK(error_of("'w': logarithmic_quantize(max = 1.0, bits = 8);") ==
        "graph.quant: 1:6: logarithmic_quantize of stored integers is not supported");
}

TEST_CASE("without an entry quantized items are plain integers") {
  const Model model = product("", DType::kU8, {1, 2, 3, 4, 5, 6});
  CHECK(weight_named(model.graph, "fc/w")->dtype() == DType::kU8);
}

}  // namespace
}  // namespace espalier::nnef
