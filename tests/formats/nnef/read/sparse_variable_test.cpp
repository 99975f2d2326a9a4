#include "formats/nnef/read/sparse_variable.h"

#include <doctest/doctest.h>

#include "formats/nnef/decode_fragments.h"
#include "lib/sparse/pack.h"
#include "tests/formats/nnef/read/cases.h"

namespace espalier::nnef {
namespace {

Tensor u16(Shape shape, const std::vector<uint16_t>& values) {
  return Tensor::of<uint16_t>(std::move(shape), values);
}

// The model y = x w with w from `decode`, whose variables are v and i.
std::string head(Decode kind) { return std::string(decode_fragment(kind).text); }

std::string body(const std::string& decode, int64_t inputs) {
  return fmt::format("x = external(shape = [1, {}]);\n{}\ny = matmul(x, w, transposeB = true);",
                     inputs, decode);
}

const std::string kGridBody = body(
    "v = variable<scalar>(shape = [2, 2, 2], label = 'fc/values');\n"
    "i = variable<integer>(shape = [2, 2], label = 'fc/index');\n"
    "w = block_sparse_decode(v, i, grid = [2, 3, 2, 2], shape = [4, 6]);",
    6);

Variables grid_variables(const std::vector<uint16_t>& index) {
  return {{"fc/values", ramp({2, 2, 2})}, {"fc/index", u16({2, 2}, index)}};
}

const std::vector<float> kGridDense = {0, 0, 1, 2, 0, 0, 0, 0, 3, 4, 0, 0,
                                       5, 6, 0, 0, 0, 0, 7, 8, 0, 0, 0, 0};

TEST_CASE("blocks on a grid become a packed weight of the label's name") {
  const Model model = read_body(kGridBody, grid_variables({0, 1, 1, 0}), head(Decode::grid));
  REQUIRE(model.graph.weights.size() == 1);
  const Weight* weight = weight_named(model.graph, "fc");
  REQUIRE(weight != nullptr);
  REQUIRE(weight->is_sparse());
  CHECK(weight->sparse().fold == Fold{1, 4, 6, false});
  CHECK(to_f32(decode(weight->sparse())) == kGridDense);
  CHECK(lines(model.graph) == std::vector<std::string>{"y[1, 4] = Gemm(x, fc)"});
}

TEST_CASE("blocks may come in any order, but not twice or outside of the grid") {
  Variables variables = grid_variables({1, 0, 0, 1});
  Tensor values = Tensor::zeros(DType::kF32, {2, 2, 2});
  std::ranges::copy(std::vector<float>{5, 6, 7, 8, 1, 2, 3, 4},
                    values.mutable_data<float>().begin());
  variables["fc/values"] = values;
  const Model model = read_body(kGridBody, variables, head(Decode::grid));
  CHECK(to_f32(decode(weight_named(model.graph, "fc")->sparse())) == kGridDense);
  const auto error = [](const std::vector<uint16_t>& index) {
    return error_of_body(kGridBody, grid_variables(index), head(Decode::grid));
  };
  CHECK(error({0, 1, 0, 1}).find("index 1 is (0, 1), a duplicate") != std::string::npos);
  CHECK(error({0, 1, 2, 0}).find("index 1 is (2, 0), the grid has 2 x 3 blocks") !=
        std::string::npos);
  CHECK(error({0, 3, 1, 0}).find("index 0 is (0, 3)") != std::string::npos);
}

TEST_CASE("shapes that do not fit the grid, and grids that fit nothing, are refused") {
  const auto error = [](const std::string& arguments) {
    return error_of_body(body("v = variable<scalar>(shape = [2, 2, 2], label = 'fc/values');\n"
                              "i = variable<integer>(shape = [2, 2], label = 'fc/index');\n"
                              "w = block_sparse_decode(v, i, " +
                                  arguments + ");",
                              6),
                         grid_variables({0, 1, 1, 0}), head(Decode::grid));
  };
  CHECK(error("grid = [2, 3, 2, 2], shape = [4, 5]").find("shape [4, 5] is not that of") !=
        std::string::npos);
  CHECK(error("grid = [2, 3, 2, 1], shape = [4, 3]")
            .find("values is [2, 2, 2], expected [2, 2, 1]") != std::string::npos);
  CHECK(error("grid = [2, 3, 2], shape = [4, 6]").find("grid has 3 values, expected 4") !=
        std::string::npos);
  CHECK(error("grid = [4294967296, 4294967296, 2, 2], shape = [4, 6]") != "");
  CHECK(error("grid = [100000000, 1, 2, 2], shape = [200000000, 2]").find("more than") !=
        std::string::npos);
  CHECK(error("grid = [2, 3, 0, 2], shape = [4, 6]").find("blocks of 0x2") != std::string::npos);
}

TEST_CASE("a ragged edge is cut off, whatever its blocks hold there") {
  const Model model = read_body(
      body("v = variable<scalar>(shape = [1, 2, 2], label = 'fc/values');\n"
           "i = variable<integer>(shape = [1, 2], label = 'fc/index');\n"
           "w = block_sparse_decode_ragged(v, i, grid = [2, 2, 2, 2], padded = [4, 4], "
           "shape = [3, 3]);",
           3),
      {{"fc/values", ramp({1, 2, 2})}, {"fc/index", u16({1, 2}, {1, 1})}}, head(Decode::ragged));
  const SparseMatrix& matrix = weight_named(model.graph, "fc")->sparse();
  CHECK(to_f32(decode(matrix)) == std::vector<float>{0, 0, 0, 0, 0, 0, 0, 0, 1});
  CHECK(to_f32(matrix.values) == std::vector<float>{1, 0, 0, 0});
}

TEST_CASE("ragged parts are stacked block rows") {
  const Model model =
      read_body(body("v = variable<scalar>(shape = [2, 2, 2], label = 'fc/values');\n"
                     "i = variable<integer>(shape = [2, 2], label = 'fc/index');\n"
                     "w = block_sparse_decode_parts(v, i, grid = [4, 1, 2, 2], padded = [2, 4, 2], "
                     "keep = [3, 2], shape = [6, 2]);",
                     2),
                {{"fc/values", ramp({2, 2, 2})}, {"fc/index", u16({2, 2}, {1, 0, 2, 0})}},
                head(Decode::parts));
  // One matrix for the operator, but the same elements: row 2, then rows 3 and 4.
  CHECK(to_f32(as_f32(decode(weight_named(model.graph, "fc")->sparse()))) ==
        std::vector<float>{0, 0, 0, 0, 1, 2, 5, 6, 7, 8, 0, 0});
}

TEST_CASE("a bitmap: one item for each block of the grid, as many set as there are blocks") {
  const auto text = [](const std::string& arguments, const std::string& mask = "[1, 3, 3]") {
    return body(
        "v = variable<scalar>(shape = [3, 2, 1], label = 'fc/values');\n"
        "m = variable<logical>(shape = " +
            mask +
            ", label = 'fc/mask');\n"
            "c = variable<scalar>(shape = [3, 1], label = 'c');\n"
            "w = block_sparse_decode_bitmap(v, m, c, " +
            arguments + ");",
        3);
  };
  // 2 x 3 blocks of 2x1, of which the lower ones stick out.
  const std::string arguments =
      "pages = [1, 1], flat = [9], cells = [9, 1, 1], count = [6], grid = [2, 3, 2, 1], padded = "
      "[1, 4, 3], keep = [3, 3], shape = [3, 3]";
  const auto variables = [](const std::vector<uint8_t>& items) {
    Tensor mask = Tensor::zeros(DType::kBool, {1, 3, 3});
    std::ranges::copy(items, mask.mutable_data<uint8_t>().begin());
    return Variables{{"fc/values", ramp({3, 2, 1})},
                     {"fc/mask", mask},
                     {"c", Tensor::of<float>({3, 1}, std::vector<float>{0, 1, 2})}};
  };
  const auto error = [&](const std::vector<uint8_t>& items, const std::string& given) {
    return error_of_body(text(given), variables(items), head(Decode::bitmap));
  };
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string result = arguments;
    result.replace(result.find(from), from.size(), to);
    return result;
  };
  const std::vector<uint8_t> good{0, 1, 0, 1, 0, 1, 0, 0, 0};
  const Model model = read_body(text(arguments), variables(good), head(Decode::bitmap));
  const Weight* weight = weight_named(model.graph, "fc");
  REQUIRE(weight != nullptr);
  CHECK(to_f32(decode(weight->sparse())) == std::vector<float>{0, 1, 0, 0, 2, 0, 3, 0, 5});
  CHECK(error({1, 1, 0, 1, 0, 1, 0, 0, 0}, arguments)
            .find("mask has 4 items set, there are 3 blocks of values") != std::string::npos);
  CHECK(error({0, 0, 0, 1, 0, 1, 0, 0, 0}, arguments).find("mask has 2 items set") !=
        std::string::npos);
  CHECK(error({0, 1, 0, 1, 0, 0, 1, 0, 0}, arguments)
            .find("mask has item 6 set, the grid has 6 blocks") != std::string::npos);
  CHECK(error(good, replaced("pages = [1, 1]", "pages = [2, 2]")).find("pages is [2, 2]") !=
        std::string::npos);
  CHECK(error(good, replaced("count = [6]", "count = [5]")).find("count is [5], expected [6]") !=
        std::string::npos);
  CHECK(error(good, replaced("keep = [3, 3]", "keep = [2, 3]")) != "");
  CHECK(error(good, replaced("grid = [2, 3", "grid = [5, 3")) != "");
  CHECK(error(good,
              "pages = [1, 1], flat = [9], cells = [9, 1, 1], count = [12], grid = [4, 3, 2, "
              "1], padded = [1, 8, 3], keep = [7, 3], shape = [7, 3]")
            .find("expected logicals of shape [A, K, K], A at most K, for a grid of 12 blocks") !=
        std::string::npos);
}

TEST_CASE("first elements: on the grid as blocks, off the grid packed anew, overlaps refused") {
  const auto first = [](const std::vector<uint16_t>& index) {
    return std::pair{body("v = variable<scalar>(shape = [2, 2, 2], label = 'fc/values');\n"
                          "i = variable<integer>(shape = [2], label = 'fc/index');\n"
                          "o = variable<integer>(shape = [2, 2], label = 'fc/offsets');\n"
                          "w = block_sparse_decode_first(v, i, o, count = [8], places = [8, 1], "
                          "size = [24], shape = [4, 6]);",
                          6),
                     Variables{{"fc/values", ramp({2, 2, 2})},
                               {"fc/index", u16({2}, index)},
                               {"fc/offsets", u16({2, 2}, {0, 1, 6, 7})}}};
  };
  const auto [on, on_variables] = first({2, 12});
  const Model grid = read_body(on, on_variables, head(Decode::first));
  CHECK(weight_named(grid.graph, "fc")->sparse().block == BlockShape{2, 2});
  CHECK(to_f32(decode(weight_named(grid.graph, "fc")->sparse())) == kGridDense);
  const auto [off, off_variables] = first({1, 10});
  const Model anywhere = read_body(off, off_variables, head(Decode::first));
  const Weight* weight = weight_named(anywhere.graph, "fc");
  REQUIRE(weight != nullptr);
  const Tensor dense = weight->is_sparse() ? decode(weight->sparse()) : weight->dense();
  CHECK(to_f32(dense) ==
        std::vector<float>{0, 1, 2, 0, 0, 0, 0, 3, 4, 0, 5, 6, 0, 0, 0, 0, 7, 8, 0, 0, 0, 0, 0, 0});
  const auto [twice, twice_variables] = first({1, 2});
  CHECK(error_of_body(twice, twice_variables, head(Decode::first)).find("is in two blocks") !=
        std::string::npos);
  const auto [outside, outside_variables] = first({2, 5});
  CHECK(error_of_body(outside, outside_variables, head(Decode::first))
            .find("its block exceeds the weight") != std::string::npos);
}

TEST_CASE("a diagonal stays apart, and takes what blocks hold on it") {
  const std::string text = body(
      "v = variable<scalar>(shape = [1, 2, 2], label = 'fc/values');\n"
      "i = variable<integer>(shape = [1, 2], label = 'fc/index');\n"
      "d = variable<scalar>(shape = [4], label = 'fc/diag');\n"
      "off = block_sparse_decode(v, i, grid = [2, 2, 2, 2], shape = [4, 4]);\n"
      "dm = stacked_diagonal(d, column = [1, 4, 1], padding = [(0, 0), (0, 0), (0, 4)], "
      "flat = [1, 20], keep = [16], shape = [4, 4]);\n"
      "w = add(off, dm);",
      4);
  const std::string fragments = head(Decode::grid) + head(Decode::diagonal);
  Variables variables = {
      {"fc/values", ramp({1, 2, 2})}, {"fc/index", u16({1, 2}, {0, 1})}, {"fc/diag", ramp({4})}};
  const Model apart = read_body(text, variables, fragments);
  REQUIRE(apart.graph.weights.size() == 1);
  CHECK(to_f32(weight_named(apart.graph, "fc")->sparse().diagonal) ==
        std::vector<float>{1, 2, 3, 4});
  variables["fc/index"] = u16({1, 2}, {0, 0});
  const Model on_it = read_body(text, variables, fragments);
  const SparseMatrix& matrix = weight_named(on_it.graph, "fc")->sparse();
  CHECK(to_f32(matrix.diagonal) == std::vector<float>{2, 6, 3, 4});
  CHECK(to_f32(decode(matrix)) ==
        std::vector<float>{2, 2, 0, 0, 3, 6, 0, 0, 0, 0, 3, 0, 0, 0, 0, 4});
}

TEST_CASE("a fragment of the same name but another body is an ordinary fragment") {
  std::string other = head(Decode::grid);
  other.replace(other.find("[0, 2, 1, 3]"), 12, "[0, 1, 2, 3]");
  const Model model = read_body(kGridBody, grid_variables({0, 1, 1, 0}), other);
  for (const auto& [id, weight] : model.graph.weights) CHECK(!weight.is_sparse());
  CHECK(std::ranges::count(model.graph.nodes, "ScatterND", &Node::op) == 1);
}

TEST_CASE("a weight kept as [inputs, outputs] is the same matrix turned around") {
  const Model model =
      read_body("x = external(shape = [5, 2, 6]);\n" +
                    kGridBody.substr(kGridBody.find('\n') + 1,
                                     kGridBody.find("y =") - kGridBody.find('\n') - 1) +
                    "y = matmul(x, unsqueeze(w, axes = [0]), transposeB = true);",
                grid_variables({0, 1, 1, 0}), head(Decode::grid));
  const SparseMatrix& matrix = weight_named(model.graph, "fc")->sparse();
  CHECK(matrix.shape == Shape{6, 4});
  CHECK(matrix.fold == Fold{1, 4, 6, true});
  CHECK(to_f32(matrix.values) == to_f32(ramp({2, 2, 2})));
}

}  // namespace
}  // namespace espalier::nnef
