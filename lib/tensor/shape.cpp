#include "lib/tensor/shape.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lib/base/checked_math.h"
#include "lib/base/error.h"

namespace espalier {

// 2^62 on machines of 64 bits: bytes of any type can still be counted.
constexpr int kMostBits = 8 * sizeof(size_t) - 2;

size_t element_count(const Shape& shape) {
  // A zero extent makes the tensor empty, but must not hide an overflow of the others.
  int64_t count = 1;
  bool empty = false;
  for (const int64_t extent : shape) {
    if (extent < 0)
      throw Error(Fault::kFormat, fmt::format("shape {} has a negative extent", to_string(shape)));
    if (extent == 0) {
      empty = true;
      continue;
    }
    const auto product = checked_mul(count, extent);
    if (!product || *product > (int64_t{1} << kMostBits)) {
      throw Error(Fault::kFormat,
                  fmt::format("shape {} has too many elements, expected at most 2^{}",
                              to_string(shape), kMostBits));
    }
    count = *product;
  }
  return empty ? 0 : static_cast<size_t>(count);
}

std::string to_string(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

}  // namespace espalier
