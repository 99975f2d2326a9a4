#include "lib/sparse/block_shape.h"

#include <doctest/doctest.h>

#include "lib/base/error.h"

namespace espalier {
namespace {

TEST_CASE("a block shape is written and read as rows x columns") {
  for (const std::string text : {"1x1", "16x1", "5x3", "4096x4096"})
    CHECK(to_string(parse_block_shape(text)) == text);
}

TEST_CASE("what is no block shape is a wrong option") {
  for (const std::string text :
       {"", "x", "16", "16x", "x1", "0x1", "1x0", "4097x1", "-1x1", "1x1x1", " 1x1", "1x1 ", "1X1",
        "1.5x1", "99999999999x1", "\x1b"}) {
    CAPTURE(text);
    try {
      parse_block_shape(text);
      FAIL("accepted");
    } catch (const Error& error) {
      CHECK(error.fault() == Fault::kUsage);
      CHECK(std::string(error.what()).find('\x1b') == std::string::npos);
    }
  }
}

}  // namespace
}  // namespace espalier
