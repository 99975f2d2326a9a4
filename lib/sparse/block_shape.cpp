#include "lib/sparse/block_shape.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "lib/base/error.h"
#include "lib/base/limits.h"

namespace espalier {
namespace {

constexpr uint32_t kMaxExtent = limits::block_extent;

std::optional<uint32_t> parse_extent(std::string_view text) {
  uint32_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, fault] = std::from_chars(text.data(), end, value);
  if (fault != std::errc{} || stop != end || value < 1 || value > kMaxExtent) return std::nullopt;
  return value;
}

}  // namespace

std::string to_string(BlockShape block) { return fmt::format("{}x{}", block.rows, block.cols); }

BlockShape parse_block_shape(std::string_view text) {
  const size_t cross = text.find('x');
  if (cross != std::string_view::npos) {
    const auto rows = parse_extent(text.substr(0, cross));
    const auto cols = parse_extent(text.substr(cross + 1));
    if (rows && cols) return {*rows, *cols};
  }
  throw Error(Fault::kUsage,
              fmt::format("block '{}': expected ROWSxCOLUMNS with both from 1 to {}, as in 16x1",
                          printable(text), kMaxExtent));
}

}  // namespace espalier
