#include "formats/nnef/read/graph.h"

#include <doctest/doctest.h>

#include "tests/formats/nnef/read/cases.h"

namespace espalier::nnef {
namespace {

using Lines = std::vector<std::string>;

const std::string kX24 = "x = external<scalar>(shape = [2, 4]);\n";
const std::string kX4D = "x = external<scalar>(shape = [1, 4, 6, 6]);\n";

TEST_CASE("linear keeps the weight as the file has it and takes a bias [1, M]") {
  const Variables variables = {{"fc/w", ramp({3, 4})}, {"fc/b", ramp({1, 3})}};
  const Model model = read_body(kX24 +
                                    "w = variable<scalar>(shape = [3, 4], label = 'fc/w');\n"
                                    "b = variable<scalar>(shape = [1, 3], label = 'fc/b');\n"
                                    "y = linear(x, w, b);",
                                variables);
  CHECK(lines(model.graph) == Lines{"y[2, 3] = Gemm(x, fc/w, fc/b)"});
  CHECK(same_bits(weight_named(model.graph, "fc/w")->dense(), variables.at("fc/w")));
  CHECK(weight_named(model.graph, "fc/b")->shape() == Shape{3});
  CHECK(int_attribute(model.graph.nodes[0], "transB", 0) == 1);
  CHECK(model.origin.format == "nnef");
  CHECK(model.origin.opset == kNnefOpset);
  CHECK(model.origin.extra.empty());
}

TEST_CASE("matmul takes its weight on either side, with extents of 1 in front") {
  const Variables variables = {{"w", ramp({1, 3, 4})}};
  const std::string w = "w = variable<scalar>(shape = [1, 3, 4], label = 'w');\n";
  const Model right = read_body(
      "x = external(shape = [5, 2, 4]);\n" + w + "y = matmul(x, w, transposeB = true);", variables);
  CHECK(lines(right.graph) == Lines{"y[5, 2, 3] = MatMul(x, w)"});
  CHECK(weight_named(right.graph, "w")->shape() == Shape{4, 3});
  CHECK(to_f32(weight_named(right.graph, "w")->dense())[1] == 5);  // element (0, 1) was (1, 0)
  const Model left =
      read_body("x = external(shape = [1, 4, 7]);\n" + w + "y = matmul(w, x);", variables);
  CHECK(lines(left.graph) == Lines{"y[1, 3, 7] = MatMul(w, x)"});
  CHECK(weight_named(left.graph, "w")->shape() == Shape{3, 4});
}

TEST_CASE("a weight that is reshaped back and forth is one weight") {
  const Model model = read_body(
      "x = external(shape = [2, 3, 4]);\n"
      "w = variable<scalar>(shape = [4, 4], label = 'w');\n"
      "a = matmul(x, unsqueeze(w, axes = [0]));\n"
      "y = matmul(a, unsqueeze(w, axes = [0]));",
      {{"w", ramp({4, 4})}});
  CHECK(lines(model.graph) == Lines{"a[2, 3, 4] = MatMul(x, w)", "y[2, 3, 4] = MatMul(a, w)"});
  CHECK(model.graph.weights.size() == 1);
}

TEST_CASE("shapes of different rank align at the front") {
  const Model model = read_body(kX4D +
                                    "c = variable<scalar>(shape = [1, 4], label = 'c');\n"
                                    "y = mul(add(x, c), 2.0);",
                                {{"c", ramp({1, 4})}});
  CHECK(weight_named(model.graph, "c")->shape() == Shape{1, 4, 1, 1});
  CHECK(model.graph.values[model.graph.outputs[0]].shape == Shape{1, 4, 6, 6});
  // What the writer raised for NNEF gets its own shape back.
  const Model raised = read_body(kX4D +
                                     "c = variable<scalar>(shape = [6], label = 'c');\n"
                                     "y = add(x, unsqueeze(c, axes = [0, 1, 2]));",
                                 {{"c", ramp({6})}});
  CHECK(weight_named(raised.graph, "c")->shape() == Shape{6});
  CHECK(lines(raised.graph) == Lines{"y[1, 4, 6, 6] = Add(x, c)"});
  // Not a constant: an Unsqueeze.
  const Model computed = read_body(kX24 +
                                   "y = add(transpose(x, axes = [1, 0]), "
                                   "squeeze(slice(x, axes = [0], begin = [0], end = [1]), "
                                   "axes = [0]));");
  CHECK(lines(computed.graph)[3].find("= Unsqueeze(") != std::string::npos);
}

TEST_CASE("convolutions: groups 0, padding [], a scalar bias") {
  const Model depthwise = read_body(kX4D +
                                        "f = variable<scalar>(shape = [4, 1, 3, 3], label = 'f');\n"
                                        "y = conv(x, f, groups = 0, stride = [2, 2]);",
                                    {{"f", ramp({4, 1, 3, 3})}});
  const Node& node = depthwise.graph.nodes[0];
  CHECK(int_attribute(node, "group", 0) == 4);
  CHECK(ints_attribute(node, "pads", {}) == std::vector<int64_t>{0, 0, 1, 1});  // extra at the end
  CHECK(lines(depthwise.graph) == Lines{"y[1, 4, 3, 3] = Conv(x, f)"});
  const Model biased = read_body(kX4D +
                                     "f = variable<scalar>(shape = [2, 4, 3, 3], label = 'f');\n"
                                     "y = conv(x, f, 0.5, padding = [(0, 0), (0, 0)]);",
                                 {{"f", ramp({2, 4, 3, 3})}});
  CHECK(biased.graph.nodes[0].inputs.size() == 3);
  CHECK(biased.graph.values[biased.graph.outputs[0]].shape == Shape{1, 2, 4, 4});
}

TEST_CASE("a filter for each channel of no channels is refused") {
  CHECK(error_of_body("x = external(shape = [0, 1, 1]); y = separable_conv(x, x, x, padding = [(0, "
                      "0)], groups = 0);")
            .find("groups = 0 requires a filter per channel, the filter has no channels") !=
        std::string::npos);
}

TEST_CASE("pools: borders decide what the padding counts for") {
  const std::string window =
      "size = [1, 1, 2, 2], stride = [1, 1, 2, 2], padding = "
      "[(0, 0), (0, 0), (1, 1), (1, 1)]";
  const Model max = read_body(kX4D + "y = max_pool(x, " + window + ", border = 'ignore');");
  CHECK(lines(max.graph) == Lines{"y[1, 4, 4, 4] = MaxPool(x)"});
  const Model zeros = read_body(kX4D + "y = max_pool(x, " + window + ", border = 'constant');");
  CHECK(zeros.graph.nodes[0].op == "Pad");
  const Model mean = read_body(kX4D + "y = avg_pool(x, " + window + ", border = 'constant');");
  CHECK(int_attribute(mean.graph.nodes[0], "count_include_pad", 0) == 1);
  const Model sum = read_body(kX4D + "y = box(x, " + window + ");");
  CHECK(sum.graph.nodes[1].op == "Mul");
}

TEST_CASE("free dimensions are -1 with a name and can be looked up") {
  const Model model = read_text(R"(version 1.0;
extension tract_registry tract_core;
extension tract_symbol N;
graph g( x ) -> ( y )
{
    x = external<scalar>(shape = [N, 64]);
    y = reshape(add(x, tract_core_broadcast(1.0, shape = [N, 64])), shape = [0, 8, 8]);
})");
  const Value& x = model.graph.values[model.graph.inputs[0]];
  CHECK(x.shape == Shape{-1, 64});
  CHECK(x.dimension_names == std::vector<std::string>{"N", ""});
  CHECK(model.graph.values[model.graph.outputs[0]].shape == Shape{-1, 8, 8});
}

TEST_CASE("literals are constants of the type beside them") {
  const Model model = read_body(
      "x = external<integer>(shape = [2, 2]);\n"
      "y = tract_core_cast(max(add(x, 1), [[0], [2]]), to = 'f32');");
  for (const auto& [id, weight] : model.graph.weights) CHECK(weight.dtype() == DType::kI64);
  CHECK(model.graph.weights.size() == 2);
  const Model relu = read_body(kX24 + "zero = [[0.0]];\ny = max(x, zero);");
  CHECK(lines(relu.graph) == Lines{"y[2, 4] = Relu(x)"});
}

TEST_CASE("aliases, tuples and tract's properties leave no trace") {
  const Model model = read_body(kX24 + "a, b = (x, relu(x));\nc = b;\ny = c;", {},
                                "fragment tract_core_properties() -> (properties: (string, "
                                "tensor<scalar>)[])\n{ properties = [(\"onnx.ir_version\", "
                                "tract_core_cast(8, to = \"i64\"))]; }\n");
  CHECK(lines(model.graph) == Lines{"y[2, 4] = Relu(x)"});
  CHECK(model.origin.extra.empty());
  // An output that is an input needs a node of its own.
  CHECK(lines(read_body(kX24 + "y = x;").graph) == Lines{"y[2, 4] = Identity(x)"});
}

TEST_CASE("fragments are expanded: arguments, fallbacks, generics, arithmetic, comprehensions") {
  const Model model = read_body(kX24 + "y = twice(x, n = 3);", {}, R"(
fragment shift<? = scalar>( x: tensor<?>, by: scalar = 2.0 ) -> ( y: tensor<?> )
{
    y = x + by if by > 0.0 else x;
}
fragment twice( x: tensor<scalar>, n: integer, axes: integer[] = [0, 1] ) -> ( y: tensor<scalar> )
{
    many = [for i in range_of(axes) if i < n - 2 yield shift<scalar>(x, by = scalar(i + 1))];
    none = shift(x, by = -1.0);
    y = many[0] * none + sqr(x) - lengthof(many + []) * 1.0;
}
)");
  CHECK(model.graph.nodes.size() == 5);
  CHECK(model.graph.nodes[0].op == "Add");
  CHECK(model.graph.values[model.graph.outputs[0]].name == "y");
}

TEST_CASE("operators without an ONNX form are kept with their arguments and fragments") {
  const Model model = read_body(kX24 + "y = custom(x, [relu(x), x], mode = 'a$0', n = 2);", {},
                                "fragment custom( a: tensor<scalar>, b: tensor<scalar>[], mode: "
                                "string, n: integer ) -> ( y: tensor<scalar> );\n"
                                "fragment unused( a: tensor<scalar> ) -> ( y: tensor<scalar> );\n");
  const Node& node = model.graph.nodes.back();
  CHECK(full_op_name(node) == "nnef.custom");
  CHECK(node.extra == "custom($0, [$1, $0], mode = 'a$0', n = 2)");
  CHECK(node.inputs.size() == 2);
  const Document kept = parse_fragments(model.origin.extra);
  REQUIRE(kept.fragments.size() == 1);
  CHECK(kept.fragments[0].name == "custom");
  const Model two = read_body(kX24 + "( y, z ) = tract_core_newest(x, k = 1);");
  CHECK(two.graph.nodes[0].outputs.size() == 2);
}

TEST_CASE("errors name the place and what is wrong") {
  CHECK(error_of_body(kX24 + "y = relu(z);") == "6:10: z is used before it is assigned");
  CHECK(error_of_body(kX24 + "y = unknown(x);") == "6:5: operator unknown is not defined");
  CHECK(error_of_body(kX24 + "y = relu(x, x);") == "6:5: relu takes 1 arguments");
  CHECK(error_of_body(kX24 + "y = relu();") == "6:5: argument of relu is missing: x");
  CHECK(error_of_body(kX24 + "y = relu(z = x);") == "6:5: relu has no parameter z");
  CHECK(error_of_body(kX24 + "y = relu('x');") == "6:5: relu: x is a string, expected a tensor");
  CHECK(error_of_body(kX24 + "y = transpose(x, axes = [0, 2]);") ==
        "6:5: transpose: axis 2 of a tensor of rank 2");
  CHECK(error_of_body(kX24 + "y = reshape(x, shape = [3, 3]);") ==
        "6:5: reshape: 8 elements of shape [2, 4] cannot be reshaped to [3, 3]");
  CHECK(error_of_body(kX24 + "y = 1 / 0;") == "6:7: an integer is divided by 0");
  CHECK(error_of_body(kX24 + "y = 9223372036854775807 + 1;") ==
        "6:25: the integer does not fit into 64 bits");
  CHECK(error_of_body(kX24 + "z = relu(x);") == "3:1: output y is never assigned");
  CHECK(error_of_body("x = 1.0;\ny = 2.0;") == "3:1: input x is not an external");
  CHECK(error_of_body(kX24 + "z = external(shape = [1]);\ny = x;") ==
        "3:1: 2 externals, but the graph has 1 inputs");
  CHECK(
      error_of_body(kX24 + "w = variable(shape = [2], label = 'w');\ny = x;", {{"w", ramp({3})}}) ==
      "6:5: variable: w has shape [2] in the graph and [3] in its file");
}

// A document held to NNEF 1.0.5; the body starts in line 5, x is [2, 3].
std::string standard_error(const std::string& body, const std::string& fragment = "") {
  try {
    read_text(
        "version 1.0;\nextension KHR_enable_fragment_definitions, "
        "KHR_enable_operator_expressions;\n" +
        fragment + "\ngraph g( x ) -> ( y ) { x = external(shape = [2, 3]);\n" + body + "\n}");
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("expressions mean what clause 3.3.3 of NNEF says") {
  for (const char* six : {"+6", "length_of('abc' * 2)", "6 + length_of([1, 2, 3][2:1])",
                          "6 if (1 < 2) == true && 'a' != 'b' else 5", "integer('6')",
                          "integer(scalar('-6.5e0')) + 12", "3 + length_of(string(1.5))",
                          "-1 ^ 2 + 5", "6 if true || false && true else 5"}) {
    CAPTURE(six);
    CHECK(standard_error(std::string("y = reshape(+x, shape = [") + six + "]);") == "");
  }
  for (const char* text : {"", " 6", "6 ", "+6", "6.5", "0x6", "-"}) {
    CAPTURE(text);
    CHECK(standard_error(fmt::format("y = reshape(x, shape = [integer('{}')]);", text)) ==
          fmt::format("5:25: '{}' is not of type integer", text));
  }
  for (const char* text : {"inf", "0x1p0", ".5", "1e", " 1.0"}) {
    CAPTURE(text);
    CHECK(standard_error(fmt::format("y = x * scalar('{}');", text)) ==
          fmt::format("5:9: '{}' is not of type scalar", text));
  }
}

TEST_CASE("how many results an array has is said by [a, b, ...] = ...") {
  const std::string split = "split(x, axis = 1, ratios = [1, 2])";
  const std::string fragment = "fragment f( x: tensor<scalar> ) -> ( p: tensor<scalar>[] ) { p = ";
  CHECK(standard_error("[a, b] = " + split + "; y = a;") == "");
  CHECK(standard_error("a, [b, c] = (x, " + split + "); y = b;") == "");
  CHECK(standard_error("[a, b] = f(x); y = a;", fragment + split + "; }") == "");
  const std::string wanted =
      "split returns an array, expected an assignment to its items: [a, b, ...] = split(...)";
  CHECK(standard_error("p = " + split + "; y = p[0];") == "5:5: " + wanted);
  CHECK(standard_error("y = " + split + "[0];") == "5:5: " + wanted);
  CHECK(standard_error("y = concat(" + split + ", axis = 1);") == "5:12: " + wanted);
  CHECK(standard_error("p = f(x); y = p[0];", fragment + split + "; }") ==
        "5:5: f returns an array, expected an assignment to its items: [a, b, ...] = f(...)");
  const std::string uses = "fragment f( x: tensor<scalar> ) -> ( y: tensor<scalar> ) { p = ";
  CHECK(standard_error("y = f(x);", uses + "copy_n(x, times = 2); y = p[1]; }") == "");
  CHECK(standard_error("y = f(x);", uses + split + "; y = p[1]; }") ==
        "3:60: p is assigned an array of unspecified length, expected an assignment to its items: "
        "[a, b, ...]");
}

TEST_CASE("documents of tract's dialect assign names again and redefine operators; others do not") {
  const std::string relu =
      "fragment relu( x: tensor<scalar> ) -> ( y: tensor<scalar> ) { y = tanh(x); }\n";
  const Model again = read_body(kX24 + "y = relu(x);\ny = y + x;");
  CHECK(lines(again.graph) == Lines{"y_1[2, 4] = Relu(x)", "y[2, 4] = Add(y_1, x)"});
  CHECK(lines(read_body(kX24 + "y = relu(x);", {}, relu).graph) == Lines{"y[2, 4] = Tanh(x)"});
  const auto error_of = [](const std::string& text) {
    try {
      translate(parse_document(text), [](std::string_view) { return Tensor(); });
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(error_of("version 1.0;\nextension KHR_enable_fragment_definitions;\n" + relu +
                 "graph g( x ) -> ( y ) { x = external(shape = [2]); y = relu(x); }")
            .find("operator relu is already defined") != std::string::npos);
}

TEST_CASE("extents out of shape_of are known where the shape is, and computed where it is not") {
  const std::string extent =
      "n = squeeze(slice(tract_core_shape_of(x), axes = [0], begin = [1], end = [2]), axes = "
      "[0]);\n";
  const std::string use = "y = reshape(x, shape = [n, div(n, 2)]);";
  const Model known = read_body(kX24 + extent + use);
  REQUIRE(known.graph.nodes.size() == 1);
  CHECK(known.graph.values[known.graph.outputs[0]].shape == Shape{4, 2});
  const Model free = read_body("x = external<scalar>(shape = [2, N]);\n" + extent +
                               "y = tile(x, repeats = [n, 1]);");
  CHECK(free.graph.nodes.back().op == "Tile");
  CHECK(free.graph.nodes[0].op == "Shape");
}

TEST_CASE("what a short text multiplies ends at a limit") {
  const auto stops = [](const std::string& body, const std::string& head = "") {
    return !error_of_body(kX24 + body + "\ny = x;", {}, head).empty();
  };
  CHECK(stops("z = f(x);",
              "fragment f( x: tensor<scalar> ) -> ( y: tensor<scalar> ) "
              "{ y = f(x); }\n"));
  CHECK(stops("z = [0] * 1000000000000;"));
  CHECK(stops("z = [0] * 16000000;"));  // 2 GB of items
  CHECK(!stops("z = [0] * 1000000;"));
  std::string doubling = "a0 = [1, 2];\n", nesting = "b0 = [1];\n", fragments;
  for (int i = 0; i < 40; ++i) doubling += fmt::format("a{} = a{} + a{};\n", i + 1, i, i);
  for (int i = 0; i < 100; ++i) nesting += fmt::format("b{} = [b{}];\n", i + 1, i);
  CHECK(stops(doubling));
  CHECK(stops(nesting));
  fragments = "fragment f0( x: tensor<scalar> ) -> ( y: tensor<scalar> ) { y = relu(relu(x)); }\n";
  for (int i = 0; i < 40; ++i) {
    fragments += fmt::format(
        "fragment f{}( x: tensor<scalar> ) -> ( y: tensor<scalar> ) "
        "{{ y = f{}(f{}(x)); }}\n",
        i + 1, i, i);
  }
  CHECK(stops("z = f40(x);", fragments));
}

}  // namespace
}  // namespace espalier::nnef
