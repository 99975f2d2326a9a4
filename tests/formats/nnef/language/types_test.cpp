#include "formats/nnef/language/types.h"

#include <doctest/doctest.h>

namespace espalier::nnef {
namespace {

Type tuple_of(std::vector<Type> items) { return {Type::Kind::tuple, "", std::move(items)}; }

TEST_CASE("a primitive can be used as a tensor of its type, anything as a tensor of any type") {
  CHECK(castable(primitive("scalar"), tensor_of("scalar")));
  CHECK_FALSE(castable(primitive("integer"), tensor_of("scalar")));
  CHECK(castable(tensor_of("logical"), tensor_of("")));
  CHECK(castable(primitive("string"), tensor_of("")));
  CHECK_FALSE(castable(array_of(primitive("scalar")), tensor_of("")));
  CHECK_FALSE(castable(tensor_of("scalar"), primitive("scalar")));
}

TEST_CASE("arrays and tuples are used item by item, and [] as any array") {
  CHECK(castable(empty_array(), array_of(primitive("string"))));
  CHECK(castable(array_of(primitive("scalar")), array_of(tensor_of("scalar"))));
  CHECK_FALSE(castable(array_of(primitive("scalar")), array_of(primitive("integer"))));
  const Type pair = tuple_of({primitive("integer"), primitive("scalar")});
  CHECK(castable(pair, tuple_of({primitive("integer"), tensor_of("scalar")})));
  CHECK_FALSE(castable(pair, tuple_of({primitive("integer")})));
}

TEST_CASE("two types have the one in common that both can be used as") {
  CHECK(same(*common(primitive("scalar"), tensor_of("scalar")), tensor_of("scalar")));
  CHECK(
      same(*common(array_of(primitive("integer")), empty_array()), array_of(primitive("integer"))));
  CHECK_FALSE(common(primitive("integer"), primitive("scalar")));
}

TEST_CASE("? is bound wherever it stands") {
  const Type generic = tuple_of({array_of(tensor_of("?")), primitive("integer")});
  CHECK(is_generic(generic));
  const Type found = bound(generic, "scalar");
  CHECK_FALSE(is_generic(found));
  CHECK(name_of(found) == "(tensor<scalar>[], integer)");
  CHECK(name_of(empty_array()) == "[]");
}

}  // namespace
}  // namespace espalier::nnef
