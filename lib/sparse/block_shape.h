#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace espalier {

/// Outputs x inputs of the folded weight: 16x1 is 16 outputs x 1 input, as in LPCNet
/// (arXiv:1810.11846). Both at least 1.
struct BlockShape {
  uint32_t rows = 1, cols = 1;
  size_t area() const { return static_cast<size_t>(rows) * cols; }
  bool operator==(const BlockShape&) const = default;
};

std::string to_string(BlockShape block);  ///< "16x1"

/// Errors  Fault::kUsage where `text` is not RxC with R, C from 1 to 4096.
BlockShape parse_block_shape(std::string_view text);

}  // namespace espalier
