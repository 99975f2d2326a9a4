#include "lib/base/error.h"

#include <doctest/doctest.h>

namespace espalier {
namespace {

TEST_CASE("context grows outward") {
  Error error(Fault::kFormat, "rank is 9");
  error.add_context("fc1.dat");
  error.add_context("net.tgz");
  CHECK(std::string(error.what()) == "net.tgz: fc1.dat: rank is 9");
  CHECK(error.fault() == Fault::kFormat);
}

TEST_CASE("what a terminal would act on is shown as bytes, letters of any script stay") {
  CHECK(printable("gr\xc3\xb6\xc3\x9f"
                  "e \xe2\x82\xac \xf0\x9f\x98\x80") ==
        "gr\xc3\xb6\xc3\x9f"
        "e \xe2\x82\xac \xf0\x9f\x98\x80");
  CHECK(printable("a\x1b[2J\n\t\x7f") == "a\\x1b[2J\\x0a\\x09\\x7f");
  CHECK(printable(std::string_view("\0", 1)) == "\\x00");
  CHECK(printable("\xc2\x9b") == "\\xc2\\x9b");  // U+009B, a control of its own
  CHECK(printable("\xff\xc3") == "\\xff\\xc3");  // no UTF-8
  CHECK(printable("\xc0\xaf") == "\\xc0\\xaf");  // a slash spelled too long
  CHECK(printable("\xe2\x82") == "\\xe2\\x82");  // cut off
  CHECK(printable("\xf5\x80\x80\x80") == "\\xf5\\x80\\x80\\x80");
}

TEST_CASE("long texts are cut between letters") {
  CHECK(printable("abcdef", 3) == "abc...");
  CHECK(printable("abc", 3) == "abc");
  CHECK(printable("\xc3\xb6\xc3\xb6", 1) == "\xc3\xb6...");
}

}  // namespace
}  // namespace espalier
