#include "formats/nnef/read/operations.h"

#include <doctest/doctest.h>

#include <limits>

#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

using Value = EvalValue;

Value integer(int64_t value) { return Value::of_integer(value); }
Value text(const char* value) { return Value::of_string(value); }
Value array(std::vector<Value> items) {
  return Value::of_list(Value::Kind::array, std::move(items), {});
}

Expr operator_of(const char* symbol) {
  Expr expr;
  expr.kind = Expr::Kind::binary;
  expr.text = symbol;
  return expr;
}

Value apply(const Value& a, const char* symbol, const Value& b) {
  Budget budget;
  return binary_operation(operator_of(symbol), a, b, budget);
}

std::string printed(const Value& value) {
  std::vector<TensorRef> none;
  return print(value, none);
}

std::string error_of(const Value& a, const char* symbol, const Value& b) {
  try {
    apply(a, symbol, b);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("integers stay integers, a scalar makes both scalars") {
  CHECK(apply(integer(7), "/", integer(2)).integer == 3);
  CHECK(apply(integer(2), "^", integer(10)).integer == 1024);
  const Value half = apply(integer(1), "/", Value::of_scalar(2));
  CHECK(half.kind == Value::Kind::scalar);
  CHECK(half.scalar == 0.5);
  CHECK(apply(integer(2), "==", Value::of_scalar(2)).logical);
}

TEST_CASE("integers that leave 64 bits are errors") {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();
  const std::string overflow = "1:1: the integer does not fit into 64 bits";
  CHECK(error_of(integer(kMost), "+", integer(1)) == overflow);
  CHECK(error_of(integer(kLeast), "-", integer(1)) == overflow);
  CHECK(error_of(integer(kLeast), "/", integer(-1)) == overflow);
  CHECK(error_of(integer(10), "^", integer(19)) == overflow);
  CHECK(error_of(integer(1), "/", integer(0)) == "1:1: an integer is divided by 0");
}

TEST_CASE("free dimensions become formulas") {
  const Value n = Value::of_dimension("N");
  const Value sum = apply(n, "+", integer(1));
  CHECK(sum.kind == Value::Kind::dimension);
  CHECK(apply(integer(2), "*", sum).text == "2 * (N + 1)");
}

TEST_CASE("arrays and strings are joined, repeated and searched") {
  CHECK(printed(apply(array({integer(1)}), "+", array({integer(2)}))) == "[1, 2]");
  CHECK(printed(apply(array({integer(1), integer(2)}), "*", integer(2))) == "[1, 2, 1, 2]");
  CHECK(apply(text("ab"), "*", integer(2)).text == "abab");
  CHECK(apply(integer(2), "in", array({integer(1), integer(2)})).logical);
  CHECK_FALSE(apply(integer(3), "in", array({integer(1), integer(2)})).logical);
  CHECK(error_of(text("a"), "*", integer(-1)) ==
        "1:1: a string is repeated a negative number of times");
}

TEST_CASE("operands that an operator does not take are named") {
  CHECK(error_of(integer(1), "+", text("a")) == "1:1: + of an integer and a string");
  CHECK(error_of(integer(1), "&&", Value::of_logical(true)) ==
        "1:1: && of an integer and a logical");
  CHECK(error_of(integer(1), "in", text("a")) == "1:1: in of an integer and a string");
}

TEST_CASE("what repeats past the budget is refused before memory is taken") {
  CHECK(error_of(array({integer(1)}), "*", integer(int64_t{1} << 40)).find("steps") !=
        std::string::npos);
  CHECK(error_of(text("ab"), "*", integer(std::numeric_limits<int64_t>::max())).find("steps") !=
        std::string::npos);
}

}  // namespace
}  // namespace espalier::nnef
