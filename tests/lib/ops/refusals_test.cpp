// What operators refuse, and the corners that no stored case holds.

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/ops/operator.h"
#include "lib/ops/run_once.h"

namespace espalier {
namespace {

struct Call {
  std::string op;
  std::vector<Tensor> inputs;
  std::vector<std::pair<std::string, Attribute::Value>> attributes = {};
  int64_t opset = 21;
  size_t outputs = 1;
};

std::vector<Tensor> results_of(const Call& call) {
  Node node;
  node.op = call.op;
  std::vector<Weight> weights;
  for (const Tensor& tensor : call.inputs) weights.push_back({tensor, {}});
  std::vector<const Weight*> inputs;
  for (size_t i = 0; i < weights.size(); ++i) {
    node.inputs.push_back(static_cast<ValueId>(i));
    inputs.push_back(&weights[i]);
  }
  for (size_t i = 0; i < call.outputs; ++i) node.outputs.push_back(static_cast<ValueId>(100 + i));
  for (const auto& [name, value] : call.attributes) set_attribute(node, name, value);
  ThreadPool pool(1);
  const auto results =
      run_once(*find_operator(call.op, ""), node, call.opset, inputs, pool, size_t{1} << 30);
  REQUIRE(results.has_value());
  return *results;
}

std::string refusal(const Call& call) {
  try {
    results_of(call);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

Tensor floats(Shape shape, const std::vector<float>& values) {
  return Tensor::of<float>(std::move(shape), values);
}
Tensor zeros(Shape shape) { return Tensor::zeros(DType::kF32, std::move(shape)); }
Tensor ints(const std::vector<int64_t>& values) {
  return Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, values);
}
Tensor bytes(DType dtype, const std::vector<int64_t>& values) {
  Tensor result = Tensor::zeros(dtype, {static_cast<int64_t>(values.size())});
  for (size_t i = 0; i < values.size(); ++i) {
    result.mutable_data<uint8_t>()[i] = static_cast<uint8_t>(values[i]);
  }
  return result;
}

TEST_CASE("Einsum refuses what its equation does not say") {
  const auto einsum = [](const std::string& equation, const std::vector<Tensor>& inputs) {
    return refusal({"Einsum", inputs, {{"equation", equation}}});
  };
  CHECK(einsum("ij->ji", {zeros({2, 3})}).empty());
  CHECK(einsum("i$j", {zeros({2, 3})}) ==
        "the equation has \"$\", expected a letter or one \"...\"");
  CHECK(einsum("......", {zeros({2, 3})}).starts_with("the equation has \".\""));
  CHECK(einsum("ij", {zeros({2})}) == "an operand has 1 axes, the equation names 2");
  CHECK(einsum("...ij", {zeros({2})}) == "an operand has 1 axes, the equation names at least 2");
  CHECK(einsum("i,j", {zeros({2})}) == "1 operands, the equation names 2");
  CHECK(einsum("i,i", {zeros({2}), zeros({3})}) == "extents 2 and 3 of one axis");
  CHECK(einsum("i->k", {zeros({2})}) == "the equation's output names an axis of no input");
  CHECK(einsum("i->ii", {zeros({2})}) == "the equation's output names an axis twice");
  CHECK(einsum("...i->i", {zeros({2, 3})}) == "the equation's output omits \"...\"");
  CHECK(einsum("a,b,c,d,e,f,g,h,i->abcdefghi", std::vector<Tensor>(9, zeros({1})))
            .find("at most 8") != std::string::npos);
}

TEST_CASE("TopK refuses counts that there are not, and puts NaN above all numbers") {
  const Tensor x = floats({2, 3}, {1, std::numeric_limits<float>::quiet_NaN(), 2, 5, 4, 6});
  CHECK(refusal({"TopK", {x, ints({4})}, {}, 21, 2}) == "k is 4, the axis has 3 elements");
  CHECK(refusal({"TopK", {x, ints({-1})}, {}, 21, 2}) == "k is -1, the axis has 3 elements");
  CHECK(refusal({"TopK", {x, ints({1, 2})}, {}, 21, 2}) == "k has 2 values, expected one");
  CHECK(refusal({"TopK", {x, ints({1})}, {{"axis", int64_t{2}}}, 21, 2}) ==
        "axis is 2, expected -2 to 1");
  CHECK(refusal({"TopK", {x}, {}, 9, 2}) == "attribute k is missing");
  CHECK(to_i64(results_of({"TopK", {x, ints({2})}, {}, 21, 2})[1]) ==
        std::vector<int64_t>{1, 2, 2, 0});
  CHECK(to_i64(results_of({"TopK", {x, ints({2})}, {{"largest", int64_t{0}}}, 21, 2})[1]) ==
        std::vector<int64_t>{0, 2, 1, 0});
}

TEST_CASE("ReverseSequence, LpPool and Dropout name what they do not take") {
  const Tensor x = zeros({3, 2});
  CHECK(refusal({"ReverseSequence", {x, ints({1, 4})}}) == "a length is 4, expected 0 to 3");
  CHECK(refusal({"ReverseSequence", {x, ints({1})}}) == "1 lengths for 2 sequences");
  CHECK(refusal({"ReverseSequence", {x, ints({1, 1})}, {{"time_axis", int64_t{1}}}}) ==
        "batch_axis is 1 and time_axis 1, expected 0 and 1 or 1 and 0");
  CHECK(refusal({"ReverseSequence", {zeros({2}), ints({1, 1})}}) ==
        "shape is [2], expected two axes or more");
  const std::vector<int64_t> kernel{2};
  CHECK(refusal({"LpPool", {zeros({1, 1, 4})}, {{"kernel_shape", kernel}, {"p", int64_t{0}}}}) ==
        "p is 0, expected 1 or more");
  CHECK(refusal({"GlobalLpPool", {zeros({4})}}) == "shape is [4], expected [N, C, ...]");
  Tensor yes = Tensor::zeros(DType::kBool, {});
  yes.mutable_data<uint8_t>()[0] = 1;
  CHECK(refusal({"Dropout", {x, floats({}, {0.5F}), yes}}) ==
        "training_mode with a ratio above 0 is not supported");
  CHECK(refusal({"Dropout", {x, floats({}, {0}), yes}}).empty());
  const std::vector<Tensor> old = results_of({"Dropout", {zeros({2})}, {}, 7, 2});
  CHECK(to_f32(old[1]) == std::vector<float>{1, 1});  // a mask of the input's type
}

TEST_CASE("Resize takes its crop for what it is") {
  const Tensor x = floats({4}, {0, 10, 20, 30}), sizes = ints({3}), none = zeros({0});
  const auto crop = [&](const Tensor& roi) {
    return Call{"Resize",
                {x, roi, none, sizes},
                {{"mode", std::string("linear")},
                 {"coordinate_transformation_mode", std::string("tf_crop_and_resize")},
                 {"extrapolation_value", -1.0F}},
                18};
  };
  CHECK(to_f32(results_of(crop(floats({2}, {0, 1})))[0]) == std::vector<float>{0, 15, 30});
  CHECK(to_f32(results_of(crop(floats({2}, {0.5F, 1.5F})))[0]) == std::vector<float>{15, 30, -1});
  CHECK(refusal(crop(floats({1}, {0}))) == "roi has 1 numbers, expected 2");
  CHECK(refusal(crop(floats({2}, {0, HUGE_VALF}))).starts_with("roi contains"));
}

TEST_CASE("quantization takes scalars, one scale for each place of an axis, and blocks") {
  const Tensor x = zeros({2, 5});
  const auto quantize = [&](const Tensor& scale,
                            std::vector<std::pair<std::string, Attribute::Value>> attributes) {
    return refusal({"QuantizeLinear", {x, scale}, std::move(attributes)});
  };
  CHECK(quantize(zeros({5}), {}).empty());
  CHECK(quantize(zeros({2}), {{"axis", int64_t{-2}}}).empty());
  CHECK(quantize(zeros({4}), {}) == "scales of shape [4] for axis 1 of [2, 5]");
  CHECK(quantize(zeros({5}), {{"axis", int64_t{2}}}) == "axis is 2, expected -2 to 1");
  CHECK(quantize(zeros({2, 3}), {{"block_size", int64_t{2}}}).empty());
  CHECK(quantize(zeros({2, 2}), {{"block_size", int64_t{2}}}) ==
        "scales have shape [2, 2], blocks of 2 need [2, 3]");
  CHECK(quantize(zeros({2, 2}), {{"block_size", int64_t{-1}}}) == "block_size is -1");
  CHECK(quantize(zeros({}), {{"output_dtype", int64_t{6}}}) ==
        "values of type i32 are not supported");
  CHECK(refusal({"QuantizeLinear", {x, zeros({5}), bytes(DType::kU8, {1, 2})}}) ==
        "zero points of shape [2] for scales of [5]");
  CHECK(refusal({"QuantizeLinear",
                 {x, zeros({1}), bytes(DType::kU8, {1})},
                 {{"output_dtype", int64_t{3}}}}) == "output_dtype is i8, the zero point u8");
  CHECK(refusal({"DequantizeLinear", {bytes(DType::kI8, {1}), zeros({}), ints({0})}}) ==
        "zero points are i64, the values i8");
}

TEST_CASE("values are quantized to sub-byte types and small floats, and come back") {
  const Tensor x = floats({5}, {-9, -0.6F, 0.4F, 1.5F, 7}), scale = floats({}, {0.5F});
  const auto there = [&](int64_t type) {
    return results_of({"QuantizeLinear", {x, scale}, {{"output_dtype", type}}})[0];
  };
  const Tensor i4 = there(22);
  CHECK(i4.dtype() == DType::kI4);
  CHECK(to_i64(i4) == std::vector<int64_t>{-8, -1, 1, 3, 7});  // -1.2, 0.8
  CHECK(to_i64(there(21)) == std::vector<int64_t>{0, 0, 1, 3, 14});
  CHECK(to_i64(there(26)) == std::vector<int64_t>{-2, -1, 1, 1, 1});
  CHECK(to_f32(there(17)) == std::vector<float>{-18, -1.25F, 0.8125F, 3, 14});
  CHECK(to_f32(there(23)) == std::vector<float>{-6, -1, 1, 3, 6});
  CHECK(to_f32(results_of({"DequantizeLinear", {i4, scale}})[0]) ==
        std::vector<float>{-4, -0.5F, 0.5F, 1.5F, 3.5F});
}

TEST_CASE("casts keep what they can of small types") {
  const auto cast = [](const Tensor& x, int64_t to,
                       std::vector<std::pair<std::string, Attribute::Value>> attributes = {}) {
    attributes.emplace_back("to", to);
    return results_of({"Cast", {x}, attributes, 24})[0];
  };
  CHECK(to_i64(cast(ints({-1, 9, 200}), 22)) == std::vector<int64_t>{-1, -7, -8});
  CHECK(to_i64(cast(cast(ints({-1, 7}), 22), 2)) == std::vector<int64_t>{255, 7});
  CHECK(to_f32(cast(floats({2}, {3, 1.1F}), 24, {{"round_mode", std::string("down")}})) ==
        std::vector<float>{2, 1});
  CHECK(refusal({"Cast",
                 {zeros({1})},
                 {{"to", int64_t{24}}, {"round_mode", std::string("sideways")}},
                 24}) == "round_mode is sideways, expected up, down or nearest");
  CHECK(refusal({"Cast", {zeros({1})}, {{"to", int64_t{8}}}}) ==
        "casting to ONNX type 8 is not supported");
  CHECK(to_i64(results_of({"BitCast", {floats({1}, {1})}, {{"to", int64_t{6}}}, 26})[0]) ==
        std::vector<int64_t>{0x3F800000});
  CHECK(refusal({"BitCast", {zeros({1})}, {{"to", int64_t{7}}}, 26}) ==
        "casting the bits of f32 to i64 is not supported");
}

TEST_CASE("extremes of bools are any and all, also of none") {
  const Tensor x = bytes(DType::kBool, {0, 1});
  const auto reduced = [](const std::string& op, const Tensor& bools) {
    return to_i64(results_of({op, {bools}, {{"keepdims", int64_t{0}}}, 20})[0]);
  };
  CHECK(reduced("ReduceMax", x) == std::vector<int64_t>{1});
  CHECK(reduced("ReduceMin", x) == std::vector<int64_t>{0});
  CHECK(reduced("ReduceMax", bytes(DType::kBool, {})) == std::vector<int64_t>{0});
  CHECK(reduced("ReduceMin", bytes(DType::kBool, {})) == std::vector<int64_t>{1});
}

// log(sum(exp(x))) of 0, 1, 2, 3 is 3.4401896985611953.
TEST_CASE("LogSoftmax and ReduceLogSumExp keep their digits at large inputs") {
  for (const double shift : {10000.0, -10000.0, 1000000.0}) {
    CAPTURE(shift);
    const std::vector<double> doubles{shift, shift + 1, shift + 2, shift + 3};
    const Tensor x64 = Tensor::of<double>({1, 4}, doubles);
    const Tensor x32 = from_f32(to_f32(x64), DType::kF32, {1, 4});
    const Tensor columns = from_f32(to_f32(x64), DType::kF32, {4, 1});
    for (const auto& [x, axis] :
         {std::pair(x64, int64_t{1}), {x32, int64_t{1}}, {columns, int64_t{0}}}) {
      const std::vector<float> got = to_f32(results_of({"LogSoftmax", {x}, {{"axis", axis}}})[0]);
      for (size_t i = 0; i < 4; ++i)
        CHECK(std::abs(got[i] - (static_cast<double>(i) - 3.4401896985611953)) < 5e-7);
    }
    const double sum = to_f32(results_of({"ReduceLogSumExp", {x32}, {}, 18})[0])[0];
    CHECK(std::abs(sum - (shift + 3.4401896985611953)) <= 0.0625 + 1e-9);  // half a step at 1e6
    const Tensor sum64 = results_of({"ReduceLogSumExp", {x64}, {}, 18})[0];
    CHECK(std::abs(sum64.data<double>()[0] - (shift + 3.4401896985611953)) < 1e-9);
  }
}

TEST_CASE("Softmax of f16 rounds each step") {
  // exp(-1) = 0.36788 is 0.36792 in f16; the sum 1.36792 becomes 1.3682; 1 / 1.3682 = 0.7309.
  const Tensor x = from_f32(std::vector<float>{0, -1}, DType::kF16, {2});
  const std::vector<float> got = to_f32(results_of({"Softmax", {x}, {}, 13})[0]);
  const float e = to_f32(from_f32(std::vector<float>{0.36787944F}, DType::kF16, {1}))[0];
  const float sum = to_f32(from_f32(std::vector<float>{1 + e}, DType::kF16, {1}))[0];
  CHECK(got == to_f32(from_f32(std::vector<float>{1 / sum, e / sum}, DType::kF16, {2})));
}

}  // namespace
}  // namespace espalier
