#include <doctest/doctest.h>

#include <string>

#include "formats/nnef/language/document.h"
#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

Document graph_of(const std::string& body) {
  return parse_document("version 1.0;\ngraph g( x ) -> ( y )\n{\n" + body + "\n}\n");
}

// The value of `y = ...`, printed.
std::string printed(const std::string& expression) {
  return print(graph_of("y = " + expression + ";").graph->body[0].value);
}

std::string error_of(const std::string& text) {
  try {
    parse_document(text);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

std::string body_error(const std::string& body) {
  return error_of("version 1.0;\ngraph g( x ) -> ( y )\n{\n" + body + "\n}\n");
}

TEST_CASE("expressions bind as NNEF's precedences say") {
  CHECK(printed("a + b * c") == "a + (b * c)");
  CHECK(printed("a * b ^ c - d") == "(a * (b ^ c)) - d");
  CHECK(printed("a + b < c && d || e") == "(((a + b) < c) && d) || e");
  CHECK(printed("-a[0] + !b") == "(-a[0]) + (!b)");
  CHECK(printed("a if b else c if d else e") == "a if b else (c if d else e)");
  CHECK(printed("(a)") == "a");
  CHECK(printed("x[1:]") == "x[1:]");
  CHECK(printed("x[:2][0]") == "x[:2][0]");
  CHECK(printed("a in [1, 2]") == "a in [1, 2]");
}

TEST_CASE("values of every kind are read") {
  CHECK(printed("[(1, 2.0), ('it\\'s', \"b\"), (true, false)]") ==
        "[(1, 2.0), ('it\\'s', 'b'), (true, false)]");
  CHECK(printed("f<scalar>(a, b = [1], c = g())") == "f<scalar>(a, b = [1], c = g())");
  CHECK(printed("[for i in range_of(x), j in y if i < 2 yield x[i] * j]") ==
        "[for i in range_of(x), j in y if (i < 2) yield x[i] * j]");
  CHECK(printed("1e-05") == "1e-05");
  CHECK(printed("a < b") == "a < b");  // and not a type in brackets
  CHECK(printed("a < scalar(b)") == "a < scalar(b)");
  CHECK(printed("i\"with.dots/and-more\"") == "with.dots/and-more");
}

TEST_CASE("what is printed parses to the same again") {
  for (const std::string text :
       {"((a + b) * c) ^ (-d)", "[for i in a if (i < b) yield f(i)[0:2]]",
        "f(a = 'q\\\\\\'', 1)[0]", "(a if b else c) if (!d) else [[], [1]]"}) {
    CAPTURE(text);
    CHECK(printed(printed(text)) == printed(text));
  }
}

TEST_CASE("a document has extensions, fragments and a graph") {
  const Document document = parse_document(R"(version 1.0;
extension KHR_enable_fragment_definitions KHR_other;
extension tract_symbol N;   # a comment
extension tract_assert N>=2;
fragment f<? = scalar>( a: tensor<?>, b: integer[] = [1], c: (string, tensor<>)[] = [] )
    -> ( d: tensor<?>, e: tensor<?>[] )
{
    d, e = g(a);
}
fragment opaque( x: tensor<scalar> ) -> ( y: tensor<scalar> );
graph g( x1, x2 ) -> ( y ) { ( a, [b, c] ) = f(x1); y = a; })");
  REQUIRE(document.extensions.size() == 3);
  CHECK(document.extensions[0].size() == 2);
  CHECK(document.extensions[1] == std::vector<std::string>{"tract_symbol", "N"});
  CHECK(document.extensions[2] == std::vector<std::string>{"tract_assert", "N>=2"});
  REQUIRE(document.fragments.size() == 2);
  const Fragment& f = document.fragments[0];
  CHECK(f.is_generic);
  CHECK(f.generic_fallback == "scalar");
  CHECK(print(f.parameters[2].type) == "(string, tensor<>)[]");
  CHECK(f.body->at(0).target.kind == Expr::Kind::tuple);
  CHECK(f.source.starts_with("fragment f<?"));
  CHECK(f.source.ends_with("g(a);\n}"));
  CHECK(!document.fragments[1].body);
  CHECK(document.fragments[1].source.ends_with(");"));
  CHECK(document.graph->inputs == std::vector<std::string>{"x1", "x2"});
  CHECK(document.graph->body[0].target.items[1].items.size() == 2);
}

TEST_CASE("errors say line and column") {
  CHECK(error_of("version 2.0;") == "1:9: NNEF version 2.0 is not supported, expected 1.0");
  CHECK(error_of("graph") == "1:1: expected 'version', found 'graph'");
  CHECK(body_error("  y = x") == "5:1: expected ';', found '}'");
  CHECK(body_error("y = @;") == "4:5: '@' is not a character of NNEF");
  CHECK(body_error("y = 'open;\n") == "4:5: closing quote of a string is missing");
  CHECK(body_error("y = 1x;") == "4:6: a letter follows a number");
  CHECK(body_error("y = f(x") == "5:1: expected ',', found '}'");
  CHECK(error_of("version 1.0;\ngraph g( x ) -> ( y )\n{\ny = x;") ==
        "4:7: expected an identifier to assign to, found the end of the text");
  CHECK(body_error("() = f(x);") == "4:1: the list of targets is empty");
  CHECK(body_error("y = x;\n}\nz") == "6:1: expected the end of the text, found 'z'");
}

TEST_CASE("nesting has a limit that no stack notices") {
  const auto nested = [](size_t depth, const std::string& open, const std::string& close) {
    std::string text = "y = ";
    for (size_t i = 0; i < depth; ++i) text += open;
    text += "x";
    for (size_t i = 0; i < depth; ++i) text += close;
    return text + ";";
  };
  CHECK(body_error(nested(50, "(", ")")).empty());
  for (const auto& [open, close] : {std::pair<std::string, std::string>{"(", ")"},
                                    {"[", "]"},
                                    {"-", ""},
                                    {"f(", ")"},
                                    {"", "[0]"},
                                    {"", " + x"},
                                    {"x if x else ", ""},
                                    {"[for i in x yield ", "]"}}) {
    CAPTURE(open);
    CAPTURE(close);
    CHECK(body_error(nested(20000, open, close)).find("nested deeper than 200") !=
          std::string::npos);
  }
  std::string types = "version 1.0; fragment f( a: ";
  for (int i = 0; i < 20000; ++i) types += '(';
  CHECK(error_of(types).find("nested deeper than 200") != std::string::npos);
}

TEST_CASE("fragments of one meaning differ in spacing and item types only") {
  const auto fragment = [](const std::string& text) { return parse_fragments(text).fragments[0]; };
  const Fragment a = fragment(
      "fragment f( x: tensor<scalar>, n: integer ) -> ( y: tensor<scalar> )"
      "{ y = g(x, shape = [n], to = 'i64'); }");
  CHECK(same_meaning(a, fragment("fragment f(x:tensor<integer>,n:integer)->(y:tensor<?>)\n"
                                 "{ # comment\n y = g(x,shape=[n],to=\"i64\"); }")));
  CHECK(!same_meaning(a, fragment("fragment f( x: tensor<scalar>, m: integer ) -> ( y: "
                                  "tensor<scalar> ) { y = g(x, shape = [m], to = 'i64'); }")));
  CHECK(!same_meaning(a, fragment("fragment f( x: tensor<scalar>, n: integer ) -> ( y: "
                                  "tensor<scalar> ) { y = g(x, shape = [n], to = 'i32'); }")));
  CHECK(!same_meaning(a, fragment("fragment f( x: tensor<scalar>, n: integer ) -> ( y: "
                                  "tensor<scalar> );")));
}

TEST_CASE("inputs are put into a kept invocation, but not into its strings") {
  const std::vector<std::string> names = {"a", "b"};
  CHECK(fill_invocation("f($0, [$1, $0], s = 'costs $0 \\'$1')", names) ==
        "f(a, [b, a], s = 'costs $0 \\'$1')");
  CHECK_THROWS_AS(fill_invocation("f($2)", names), Error);
  CHECK_THROWS_AS(fill_invocation("f($)", names), Error);
}

}  // namespace
}  // namespace espalier::nnef
