#include "formats/nnef/write/strips.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <regex>
#include <string>

#include "formats/nnef/write/graph.h"
#include "formats/nnef/write/packed.h"
#include "lib/base/log.h"
#include "lib/sparse/pack.h"
#include "tests/formats/nnef/read/cases.h"

namespace espalier::nnef {
namespace {

struct Case {
  std::string what;
  Shape shape;
  Fold fold;
  BlockShape block;
  DType values = DType::kF32;
  bool diagonal = false;
  double density = 0.1;
};

// Blocks at random; diagonals on top where they are kept apart. With `one_row` all blocks are in
// the first block row: strips below are empty.
SparseMatrix packed(const Case& one, bool one_row = false) {
  std::mt19937 random(7);
  Tensor dense = Tensor::zeros(DType::kF32, one.shape);
  for (float& value : dense.mutable_data<float>())
    value = std::uniform_real_distribution<float>(-1, 1)(random);
  BlockMask mask(one.block, one.fold, false);
  for (size_t i = 0; i < mask.kept.size(); ++i) {
    const bool first = i < ceil_div(one.fold.cols, one.block.cols);
    mask.kept[i] =
        std::uniform_real_distribution<double>(0, 1)(random) < one.density && (!one_row || first);
  }
  return with_values(pack_blocks(dense, one.fold, mask, one.diagonal), one.values);
}

// y = x w^T, or w in ONNX' [inputs, outputs], a convolution, a GRU of one step.
Model model_of(const SparseMatrix& matrix) {
  Model model;
  model.origin.opset = 17;
  Graph& graph = model.graph;
  const auto value = [&](const std::string& name, Shape shape) {
    const ValueId id = add_value(graph, name);
    graph.values[id].dtype = DType::kF32;
    graph.values[id].shape = std::move(shape);
    return id;
  };
  const Shape& shape = matrix.shape;
  const ValueId weight = add_value(graph, "fc.w");
  graph.weights[weight] = {matrix, ""};
  Node node;
  if (matrix.fold.parts == 3 && shape.size() == 3) {
    const ValueId w = add_value(graph, "w");
    graph.weights[w] = {Tensor::zeros(DType::kF32, {1, shape[1], 2}), ""};
    graph.inputs = {value("x", {1, 1, 2})};
    node.op = "GRU";
    node.inputs = {graph.inputs[0], w, weight};
    set_attribute(node, "hidden_size", shape[2]);
    set_attribute(node, "linear_before_reset", int64_t{1});
  } else if (shape.size() == 3) {
    const auto groups = static_cast<int64_t>(matrix.fold.parts);
    const bool turned = matrix.fold.transposed;
    graph.inputs = {value("x", {1, turned ? shape[0] : groups * shape[1], 8})};
    node.op = turned ? "ConvTranspose" : "Conv";
    node.inputs = {graph.inputs[0], weight};
    set_attribute(node, "group", groups);
  } else {
    const bool turned = matrix.fold.transposed;
    graph.inputs = {value("x", {1, shape[turned ? 0 : 1]})};
    node.op = turned ? "MatMul" : "Gemm";
    node.inputs = {graph.inputs[0], weight};
    if (!turned) set_attribute(node, "transB", int64_t{1});
  }
  graph.outputs = {add_value(graph, "y")};
  node.outputs = graph.outputs;
  graph.nodes.push_back(std::move(node));
  return model;
}

Model read_back(const Spelled& spelled) {
  Variables variables;
  for (const Variable& variable : spelled.variables) variables[variable.label] = variable.make();
  return read_text(spelled.graph, variables);
}

// Every decode of the text takes at most kFoldedBytes: f32 tiles, indices of i64, padded diagonals.
void check_folded(const Spelled& spelled) {
  const auto each = [&](const std::string& pattern, const auto& check) {
    const std::regex expression(pattern);
    const std::string& text = spelled.graph;
    for (std::sregex_iterator at(text.begin(), text.end(), expression), end; at != end; ++at) {
      CAPTURE(at->str());
      check(*at);
    }
  };
  const auto number = [](const std::ssub_match& match) { return std::stoull(match.str()); };
  each(R"(grid = \[(\d+), (\d+), (\d+), (\d+)\])", [&](const std::smatch& grid) {
    CHECK(number(grid[1]) * number(grid[2]) * number(grid[3]) * number(grid[4]) <= kFoldedItems);
  });
  each(R"(count = \[(\d+)\], places = \[\d+, 1\], size = \[(\d+)\])", [&](const std::smatch& m) {
    CHECK(number(m[1]) * sizeof(int64_t) <= kFoldedBytes);
    CHECK(number(m[2]) <= kFoldedItems);
  });
  each(R"(flat = \[(\d+)\], cells)",
       [&](const std::smatch& m) { CHECK(number(m[1]) * sizeof(int64_t) <= kFoldedBytes); });
  each(R"(flat = \[(\d+), (\d+)\], keep)",
       [&](const std::smatch& m) { CHECK(number(m[1]) * number(m[2]) <= kFoldedItems); });
  each(
      R"(column = \[(\d+), 1\], padding = \[\(0, 0\), \(0, (\d+)\)\], line = \[(\d+)\], shift = \[\((\d+))",
      [&](const std::smatch& m) { CHECK(number(m[3]) + number(m[4]) <= kFoldedItems); });
  for (const Variable& variable : spelled.variables) {
    if (!variable.label.ends_with("/index")) continue;
    const Tensor index = variable.make();
    CHECK(index.count() * sizeof(int64_t) <= kFoldedBytes);
  }
}

void check_round_trip(const SparseMatrix& matrix, const WriteOptions& options, bool folded) {
  const Model model = model_of(matrix);  // what variables are made of
  const Spelled spelled = spell(model, options);
  if (folded) check_folded(spelled);
  const Model again = read_back(spelled);
  const Weight* weight = weight_named(again.graph, "fc.w");
  REQUIRE(weight != nullptr);
  REQUIRE(weight->is_sparse());
  const SparseMatrix& found = weight->sparse();
  SparseMatrix expected = matrix;
  if (matrix.fold.transposed && matrix.shape.size() == 2) {  // NNEF keeps [outputs, inputs]
    std::swap(expected.shape[0], expected.shape[1]);
    expected.fold.transposed = false;
  }
  CHECK(found.shape == expected.shape);
  CHECK(found.block == expected.block);
  CHECK(found.has_diagonal() == expected.has_diagonal());
  const bool widened = options.index == "first-element" && !is_ragged(matrix) &&
                       expected.values.dtype() == DType::kI8;
  CHECK(found.values.dtype() == (widened ? DType::kF32 : expected.values.dtype()));
  CHECK(found.values.count() == expected.values.count());
  CHECK(same_bits(decode(found), decode(expected)));
}

const std::vector<Case> kCases = {
    {"16x1", {1040, 1040}, {1, 1040, 1040, false}, {16, 1}},
    {"16x4 turned", {1200, 1600}, {1, 1600, 1200, true}, {16, 4}},
    {"1x1", {1500, 1030}, {1, 1500, 1030, false}, {1, 1}},
    {"1x1 of many", {1100, 1000}, {1, 1100, 1000, false}, {1, 1}, DType::kF32, false, 0.6},
    {"1x1, i8", {1500, 1030}, {1, 1500, 1030, false}, {1, 1}, DType::kI8, false, 0.5},
    {"1x1 turned", {700, 1600}, {1, 1600, 700, true}, {1, 1}, DType::kF16, false, 0.5},
    {"f16", {1040, 1040}, {1, 1040, 1040, false}, {16, 1}, DType::kF16},
    {"i8", {1040, 1040}, {1, 1040, 1040, false}, {16, 1}, DType::kI8},
    {"ragged", {1045, 1030}, {1, 1045, 1030, false}, {16, 4}},
    {"ragged i8", {1045, 1030}, {1, 1045, 1030, false}, {16, 4}, DType::kI8},
    {"wider than a strip", {32, 70000}, {1, 32, 70000, false}, {16, 1}},
    {"two groups", {800, 400, 4}, {2, 400, 1600, false}, {16, 1}},
    {"two ragged groups", {802, 401, 4}, {2, 401, 1604, false}, {16, 8}},
    {"two groups, ragged columns", {800, 401, 4}, {2, 400, 1604, false}, {16, 8}},
    {"gates", {1, 1968, 656}, {3, 656, 656, false}, {16, 1}},
    {"ragged gates", {1, 1983, 661}, {3, 661, 661, false}, {16, 4}},
    {"diagonals", {1, 1968, 656}, {3, 656, 656, false}, {16, 1}, DType::kF32, true},
    {"diagonals of f16", {1, 1968, 656}, {3, 656, 656, false}, {16, 1}, DType::kF16, true},
    {"diagonals with i8", {1, 1968, 656}, {3, 656, 656, false}, {16, 1}, DType::kI8, true},
    {"diagonals longer than a strip",
     {1, 3090, 1030},
     {3, 1030, 1030, false},
     {16, 1},
     DType::kF32,
     true},
    {"ragged gates with diagonals",
     {1, 1983, 661},
     {3, 661, 661, false},
     {16, 4},
     DType::kF32,
     true},
};

TEST_CASE("weights above 4 MiB are written in strips that stock tract folds, and read back whole") {
  for (const Case& one : kCases) {
    CAPTURE(one.what);
    const SparseMatrix matrix = packed(one);
    for (const std::string index : {"grid", "first-element", "bitmap", ""}) {
      for (const std::string profile : {"tract", "operator", "portable", "opaque"}) {
        const bool plain = matrix.values.dtype() != DType::kI8 && one.fold.parts != 3;
        // With pairs of f32 half of the elements are larger than all of them.
        if (profile == "portable" && (!plain || one.density >= 0.5)) continue;
        if (profile != "tract" && index != "grid" && index != "") continue;
        CAPTURE(index);
        CAPTURE(profile);
        WriteOptions options;
        options.index = index;
        options.profile = profile;
        check_round_trip(matrix, options, profile != "opaque" && profile != "portable");
      }
    }
  }
}

TEST_CASE("strips without blocks, and weights without any") {
  const Case one{"", {1040, 1040}, {1, 1040, 1040, false}, {16, 1}, DType::kF32, false, 0.5};
  check_round_trip(packed(one, true), {}, true);
  WriteOptions bitmap;
  bitmap.index = "bitmap";
  check_round_trip(packed(one, true), bitmap, true);
  Case none = one;
  none.density = 0;
  for (const DType values : {DType::kF32, DType::kF16, DType::kI8}) {
    none.values = values;
    check_round_trip(packed(none), {}, true);
    check_round_trip(packed(none), bitmap, true);
  }
}

TEST_CASE("what profile portable would make larger than dense it stores dense") {
  const Case half{"", {200, 100}, {1, 200, 100, false}, {1, 1}, DType::kF32, false, 0.5};
  const SparseMatrix matrix = packed(half);
  WriteOptions options;
  options.profile = "portable";
  options.index = "";
  set_log_level(LogLevel::kQuiet);
  const Model model = model_of(matrix);
  const Model again = read_back(spell(model, options));
  const Weight* weight = weight_named(again.graph, "fc.w");
  REQUIRE(weight != nullptr);
  CHECK_FALSE(weight->is_sparse());
  CHECK(same_bits(weight->dense(), decode(matrix)));
}

TEST_CASE("weights that no decode can give are written dense") {
  const SparseMatrix matrix = packed({"", {32, 8, 3}, {2, 24, 16, true}, {8, 1}});
  CHECK_FALSE(has_decoded_shape(matrix));
  for (const std::string index : {"grid", "mask", "bitmap"}) {
    WriteOptions options;
    options.index = index;
    const Model model = model_of(matrix);
    const Model again = read_back(spell(model, options));
    const Weight* weight = weight_named(again.graph, "fc.w");
    REQUIRE(weight != nullptr);
    CHECK_FALSE(weight->is_sparse());
    CHECK(std::ranges::equal(weight->dense().bytes(), decode(matrix).bytes()));
  }
}

TEST_CASE("a weight of at most 4 MiB is one decode") {
  const Case one{"", {1024, 1024}, {1, 1024, 1024, false}, {16, 1}};
  CHECK(spell(model_of(packed(one)), {})
            .graph.find("grid = [64, 1024, 16, 1], shape = [1024, 1024]") != std::string::npos);
  CHECK(spell(model_of(packed(one)), {}).graph.find("concat") == std::string::npos);
}

}  // namespace
}  // namespace espalier::nnef
