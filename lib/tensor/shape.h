#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace espalier {

/// Extents, outermost first. -1 in a value's declared shape means unknown; a tensor has none of
/// these.
using Shape = std::vector<int64_t>;

/// Product of the extents (1 for rank 0).
/// Errors  Fault::kFormat where an extent is negative or the product passes 2^62.
size_t element_count(const Shape& shape);

/// "[1, 64]", "[]".
std::string to_string(const Shape& shape);

}  // namespace espalier
