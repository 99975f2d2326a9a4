#include "formats/nnef/language/check_types.h"

#include <doctest/doctest.h>

#include "tests/formats/nnef/read/cases.h"

namespace espalier::nnef {
namespace {

constexpr const char* kBoth =
    "version 1.0;\nextension KHR_enable_fragment_definitions, KHR_enable_operator_expressions;\n";

std::string error_of(const std::string& text) {
  try {
    check_types(parse_document(text));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

// The body starts in line 5, x is [2, 3].
std::string graph_error(const std::string& body) {
  return error_of(kBoth + std::string("graph g( x ) -> ( y ) {\nx = external(shape = [2, 3]);\n") +
                  body + "\n}");
}

// The fragment is line 3.
std::string fragment_error(const std::string& fragment) {
  return error_of(kBoth + fragment +
                  "\ngraph g( x ) -> ( y ) { x = external(shape = [2]); y = relu(x); }");
}

TEST_CASE("typed documents pass") {
  CHECK(graph_error("y = relu(x) + 1.0;") == "");
  CHECK(graph_error("[a, b] = split(x, axis = 0, ratios = [1, 1]); y = select(a < b, a, 0.0);") ==
        "");
  CHECK(
      graph_error(
          "n = [for (i, j) in [(1, 2.0)] if j > 1.0 yield i]; y = reshape(x, shape = n + [6]);") ==
      "");
  CHECK(graph_error("s = 'ab' + 'c'; n = length_of(s[1:]); y = reshape(x, shape = [n, 3]);") == "");
  CHECK(graph_error("m, v = moments(x, axes = [0]); y = m if 1 in [1, 2] else v;") == "");
  CHECK(fragment_error("fragment f<?>( a: tensor<?>, n: integer = -1 ) -> ( b: tensor<?>[] ) "
                       "{ b = [copy<?>(a)] * n; }") == "");
}

TEST_CASE("what the extensions do not allow is refused") {
  const std::string tail = "graph g( x ) -> ( y ) { x = external(shape = [2]); y = x + x; }";
  CHECK(error_of("version 1.0;\n" + tail) ==
        "2:58: expected an invocation: other expressions require extension "
        "KHR_enable_operator_expressions");
  CHECK(error_of("version 1.0;\nextension other;\n" + tail) == "extension 'other' is unknown");
  CHECK(error_of("version 1.0;\nfragment f( a: tensor<scalar> ) -> ( b: tensor<scalar> );\n" +
                 tail) == "2:1: a fragment requires extension KHR_enable_fragment_definitions");
  const std::string both = "KHR_enable_operator_expressions KHR_enable_fragment_definitions";
  CHECK(error_of("version 1.0;\nextension " + both + ";\n" + tail) == "");
  CHECK(error_of("version 1.0;\nextension " + both + ",;\n" + tail) ==
        "expected a name after extension");
  CHECK(error_of("version 1.0;\nextension , " + both + ";\n" + tail) ==
        "expected a name after extension");
  CHECK(error_of("version 1;\n" + tail) == "1:9: expected the version as 1.0");
  CHECK(is_tract_dialect(parse_document("version 1.0;\nextension tract_symbol N;\n" + tail)));
  CHECK(!is_tract_dialect(parse_document("version 1.0;\n" + tail)));
}

TEST_CASE("arguments are those of the declaration") {
  CHECK(graph_error("y = relu(x, 1.0);") == "5:5: relu takes 1 arguments");
  CHECK(graph_error("y = relu(z = x);") == "5:5: relu has no parameter z");
  CHECK(graph_error("y = elu(x, 1.0);") == "5:12: elu: argument alpha must be named");
  CHECK(graph_error("y = elu(x, alpha = 1);") == "5:20: elu: alpha is integer, expected scalar");
  CHECK(graph_error("y = softmax(x, axes = [1.0]);") ==
        "5:23: softmax: axes is scalar[], expected integer[]");
  CHECK(graph_error("y = matmul(x);") == "5:5: argument of matmul is missing: B");
  CHECK(graph_error("y = relu(x, x = x);") == "5:5: relu is given x twice");
  CHECK(graph_error("y = wrong(x);") == "5:5: operator wrong is not defined");
  CHECK(graph_error("y = square(x);") == "5:5: operator square is not defined");
}

TEST_CASE("names are assigned once, and before they are used") {
  CHECK(graph_error("y = relu(z); z = x;") == "5:10: z is used before it is assigned");
  CHECK(graph_error("y = x; y = relu(x);") == "5:8: y is assigned twice");
  CHECK(graph_error("z = x;") == "3:1: y is never assigned");
  CHECK(graph_error("y = [for x in [1] yield x];") == "5:10: x is assigned twice");
  CHECK(graph_error("y = x; for = x;").starts_with("5:8: for is a keyword"));
  CHECK(graph_error("y = [x];") == "3:1: y is tensor<scalar>[], expected tensor<>");
  CHECK(graph_error("y = external(shape = [1]);") ==
        "5:1: y is an external, but not an input of the graph");
}

TEST_CASE("operands and structures fit") {
  CHECK(graph_error("y = x if 1 else x;") == "5:10: a condition is integer");
  CHECK(graph_error("n = 1 + 1.0; y = x;") == "5:7: + of integer and scalar");
  CHECK(graph_error("n = [1, 'a']; y = x;") == "5:5: an array of integer and string");
  CHECK(graph_error("n = x[0]; y = x;") == "5:6: a subscript of tensor<scalar>");
  CHECK(graph_error("n = (1, 2)[2]; y = x;") == "5:11: subscript 2 of 2 items");
  CHECK(graph_error("a, b = relu(x); y = x;") ==
        "5:1: a tuple of 2 targets is assigned tensor<scalar>");
  CHECK(graph_error("n = [for i in 3 yield i]; y = x;") == "5:15: a loop over integer");
  CHECK(graph_error("n = 6 if [1] == [1] else 5; y = x;") == "5:14: == of integer[] and integer[]");
  CHECK(graph_error("n = 'a' * 2.0; y = x;") == "5:9: * of string and scalar");
  CHECK(graph_error("n = +'a'; y = x;") == "5:5: + of string");
  CHECK(graph_error("n = length_of<integer>([3]); y = x;") == "5:5: length_of takes no type");
}

TEST_CASE("fragments are declared as NNEF wants them") {
  CHECK(fragment_error("fragment relu( a: tensor<scalar> ) -> ( b: tensor<scalar> );") ==
        "3:1: operator relu is already defined");
  CHECK(fragment_error("fragment f( n: integer, a: tensor<scalar> ) -> ( b: tensor<scalar> );") ==
        "3:1: tensor a follows an attribute, expected tensors first");
  CHECK(fragment_error("fragment f( a: tensor<?> ) -> ( b: tensor<scalar> );") ==
        "3:1: type ? requires a fragment declared with <?>");
  CHECK(fragment_error(
            "fragment f( a: tensor<scalar>, n: integer = 1.0 ) -> ( b: tensor<scalar> );") ==
        "3:45: the default of n is scalar, expected integer");
  CHECK(fragment_error("fragment f( a: tensor<scalar> ) -> ( b: tensor<scalar> ) { b = a; c = "
                       "variable(shape = [1], label = 'c'); }") ==
        "3:71: variable must not be used inside a fragment");
  CHECK(fragment_error(
            "fragment f( a: tensor<scalar> ) -> ( b: tensor<logical> ) { b = relu(a); }") ==
        "3:1: b is tensor<scalar>, expected tensor<logical>");
}

TEST_CASE("types do not grow without bound") {
  std::string body = "a0 = (1, 1);";
  for (int i = 1; i < 40; ++i) body += fmt::format("a{0} = (a{1}, a{1});", i, i - 1);
  CHECK(graph_error(body + "y = x;").find("the tuple has more than 1000 items") !=
        std::string::npos);
}

}  // namespace
}  // namespace espalier::nnef
