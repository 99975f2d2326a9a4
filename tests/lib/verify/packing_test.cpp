#include "lib/verify/packing.h"

#include <doctest/doctest.h>

#include "lib/sparse/pack.h"
#include "tests/lib/verify/small_model.h"

namespace espalier {
namespace {

const Fold kFold{1, 2, 4, false};

SparseMatrix packed(const std::vector<float>& values, BlockShape block, bool diagonal = false) {
  const Tensor dense = Tensor::of<float>({2, 4}, values);
  return pack_blocks(dense, kFold, nonzero_blocks(dense, kFold, block, diagonal), diagonal);
}

Tensor tensor(Shape shape, const std::vector<float>& values) {
  return Tensor::of<float>(std::move(shape), values);
}

Tensor weight(const std::vector<float>& values) { return tensor({2, 4}, values); }

TEST_CASE("negative zeros outside of kept blocks are lost and counted; inside they stay") {
  const std::vector<float> values{1, -0.0F, 0, -0.0F, /**/ 2, 0, 0, 3};
  // 2x1: the first and the last column are kept whole, with the negative zero in the last.
  CHECK(lost_zero_signs(packed(values, {2, 1}), weight(values)) == 1);
  // 1x4: all rows are kept.
  CHECK(lost_zero_signs(packed(values, {1, 4}), weight(values)) == 0);
}

TEST_CASE("any other difference is no lost sign") {
  const std::vector<float> values{1, 0, 0, 0, /**/ 2, 0, 0, 3};
  const SparseMatrix matrix = packed(values, {1, 1});
  CHECK(lost_zero_signs(matrix, weight(values)) == 0);
  for (const float other : {1.0F, -1e-45F, 1e-45F}) {
    std::vector<float> changed = values;
    changed[2] = other;
    CHECK_FALSE(lost_zero_signs(matrix, weight(changed)));
  }
  // A zero that decodes to a negative zero is a difference too.
  SparseMatrix flipped = matrix;
  flipped.values = tensor({3, 1, 1}, {1, 2, -0.0F});
  std::vector<float> zero = values;
  zero[7] = 0;
  CHECK_FALSE(lost_zero_signs(flipped, weight(zero)));
  CHECK_FALSE(lost_zero_signs(matrix, Tensor::of<float>({4, 2}, values)));
}

TEST_CASE("values of a narrower type are compared with the weight as that type has it") {
  const std::vector<float> values{1.0001F, 0, 0, 0, /**/ 2, 0, 0, -3.3F};
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kI8}) {
    const SparseMatrix matrix = with_values(packed(values, {1, 1}), dtype);
    CHECK(lost_zero_signs(matrix, weight(values)) == 0);
    std::vector<float> changed = values;
    changed[7] = -3.0F;  // not beyond -3.3: i8 has nothing beyond its largest step
    CHECK_FALSE(lost_zero_signs(matrix, weight(changed)));
  }
}

TEST_CASE("elements are equal bit for bit, or but for the signs of zeros") {
  const Tensor a = weight({1, 0, -0.0F, 2, 3, 4, 5, 6}), b = weight({1, -0.0F, 0, 2, 3, 4, 5, 6});
  CHECK_FALSE(equal_elements(a, b, false));
  CHECK(equal_elements(a, b, true));
  CHECK_FALSE(equal_elements(a, weight({1, 0, 0, 2, 3, 4, 5, 7}), true));
  CHECK_FALSE(equal_elements(a, tensor({4, 2}, {1, 0, 0, 2, 3, 4, 5, 6}), true));
}

Model with_weight(std::variant<Tensor, SparseMatrix> value) {
  Model model = matmul_model();
  model.graph.weights.begin()->second.value = std::move(value);
  return model;
}

TEST_CASE("a packed weight that decodes to something else is named") {
  const std::vector<float> values{1, 0, 0, -0.0F, /**/ 2, 0, 0, 3};
  const Model masked = with_weight(weight(values));
  const Packing right = check_packing(masked, with_weight(packed(values, {1, 1})));
  CHECK(right.wrong.empty());
  CHECK(right.zero_signs == 1);
  std::vector<float> changed = values;
  changed[0] = 1.5F;
  CHECK(check_packing(masked, with_weight(packed(changed, {1, 1}))).wrong ==
        std::vector<std::string>{"w"});
  CHECK(check_packing(masked, with_weight(weight(changed))).wrong.size() == 1);
}

TEST_CASE("weights that were read back are found by name; another name is not compared") {
  const Model written = matmul_model();
  CHECK(compare_read_back(written, written, true).compared == 1);
  const ReadBack other = compare_read_back(written, matmul_model({1, 2, 3, 4, 5, 7}), true);
  CHECK(other.wrong == std::vector<std::string>{"w"});
  Model renamed = written;
  renamed.graph.values[1].name = "v";
  const ReadBack unnamed = compare_read_back(written, renamed, true);
  CHECK(unnamed.total == 1);
  CHECK(unnamed.compared == 0);
}

// x times the weight, which is [inputs, outputs], or [outputs, inputs].
Model reads(bool outputs_first, Tensor weight, const std::string& format) {
  Model model = matmul_model();
  model.origin.format = format;
  model.graph.weights.begin()->second = Weight{std::move(weight), {}};
  if (!outputs_first) return model;
  model.graph.nodes.front().op = "Gemm";
  set_attribute(model.graph.nodes.front(), "transB", int64_t{1});
  return model;
}

TEST_CASE("a weight that is read back as [outputs, inputs] is compared, square ones too") {
  for (const std::string format : {"nnef", "onnx"}) {
    const auto compare = [&](const Model& written, bool outputs_first, Tensor weight) {
      return compare_read_back(written, reads(outputs_first, std::move(weight), format), true);
    };
    const Model written = reads(false, tensor({3, 2}, {1, 2, 3, 4, 5, 6}), "onnx");
    const ReadBack turned = compare(written, true, tensor({2, 3}, {1, 3, 5, 2, 4, 6}));
    CHECK(turned.compared == 1);
    CHECK(turned.wrong.empty());
    CHECK(compare(written, true, tensor({2, 3}, {1, 3, 5, 2, 4, 7})).wrong.size() == 1);
    CHECK(compare(written, false, tensor({2, 3}, {1, 3, 5, 2, 4, 6})).compared == 0);
    const Model square = reads(false, tensor({2, 2}, {1, 2, 3, 4}), "onnx");
    CHECK(compare(square, true, tensor({2, 2}, {1, 3, 2, 4})).wrong.empty());
    CHECK(compare(square, true, tensor({2, 2}, {1, 2, 3, 4})).wrong.size() == 1);
    CHECK(compare(square, false, tensor({2, 2}, {1, 2, 3, 4})).wrong.empty());
    CHECK(compare(square, false, tensor({2, 2}, {1, 3, 2, 4})).wrong.size() == 1);
  }
}

TEST_CASE("packed weights that differ in the order of axes alone are compared without decoding") {
  const auto model = [](bool transposed, float last, const std::string& format) {
    Fold fold{1, 2, 2, transposed};
    const Tensor dense =
        transposed ? tensor({2, 2}, {1, 2, 3, last}) : tensor({2, 2}, {1, 3, 2, last});
    Model result = reads(!transposed, dense, format);
    result.graph.weights.begin()->second =
        Weight{pack_blocks(dense, fold, nonzero_blocks(dense, fold, {2, 1}, false), false), {}};
    return result;
  };
  CHECK(compare_read_back(model(true, 4, "onnx"), model(false, 4, "nnef"), true).wrong.empty());
  CHECK(compare_read_back(model(true, 4, "onnx"), model(false, 5, "nnef"), true).wrong.size() == 1);
  CHECK(compare_read_back(model(true, 4, "onnx"), model(false, 4, "onnx"), true).wrong.empty());
}

TEST_CASE("literals are left to the run where the format keeps no name for them") {
  Model written = matmul_model();
  const ValueId one = add_value(written.graph, "one", DType::kF32, Shape{});
  written.graph.weights.emplace(one, Weight{tensor({}, {1}), {}});
  CHECK(compare_read_back(written, written, true).total == 2);
  CHECK(compare_read_back(written, written, false).total == 1);
}

}  // namespace
}  // namespace espalier
