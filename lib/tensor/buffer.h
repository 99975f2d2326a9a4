#pragma once

#include <cstddef>
#include <memory>

namespace espalier {

enum class Fill { kNone, kZeros };

/// A buffer aligned to 64 bytes at least, for elements. Large ones lie on large pages where the
/// system has them: weights are made and let go of one after another, and each page costs a fault.
std::shared_ptr<std::byte> make_buffer(size_t bytes, Fill fill);

}  // namespace espalier
