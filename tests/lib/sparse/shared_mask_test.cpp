#include "lib/sparse/shared_mask.h"

#include <doctest/doctest.h>

namespace espalier {
namespace {

TEST_CASE("equal masks are kept once, others apart") {
  const BlockMask mask({1, 1}, {1, 4, 5}, true);
  BlockMask other = mask, wide({1, 1}, {1, 5, 4}, true);
  other.kept[7] = false;
  const auto a = shared_mask(mask), b = shared_mask(BlockMask(mask));
  CHECK(a == b);
  CHECK(*a == mask);
  CHECK(*shared_mask(other) == other);
  CHECK(*shared_mask(wide) == wide);  // the same bits
}

TEST_CASE("a mask that nothing keeps any more is made anew") {
  const BlockMask mask({16, 1}, {1, 32, 3}, false);
  std::weak_ptr<const BlockMask> gone = shared_mask(mask);
  CHECK(gone.expired());
  CHECK(*shared_mask(mask) == mask);
}

}  // namespace
}  // namespace espalier
