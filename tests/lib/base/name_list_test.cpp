#include "lib/base/name_list.h"

#include <doctest/doctest.h>

namespace espalier {

TEST_CASE("a list shows its first names and how many there are besides") {
  CHECK(name_list({}) == "");
  CHECK(name_list({"a"}) == "a");
  CHECK(name_list({"a", "b", "c"}) == "a, b, c");
  CHECK(name_list({"a", "b", "c", "d", "e"}) == "a, b, c and 2 more");
  CHECK(name_list({"a", "b"}, 1) == "a and 1 more");
  CHECK(name_list({"a\nb", "cdef"}, 3, 2) == "a\\x0a..., cd...");
}

}  // namespace espalier
