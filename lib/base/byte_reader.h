#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

#include "lib/base/error.h"

namespace espalier {

using Bytes = std::span<const std::byte>;

inline Bytes as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}
inline std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Reads little-endian fields from the front of a byte span and checks every length.
/// Errors  Fault::kFormat naming the part that the bytes ran out in.
class ByteReader {
 public:
  explicit ByteReader(Bytes bytes) : rest_(bytes) {}

  Bytes rest() const { return rest_; }
  size_t left() const { return rest_.size(); }

  Bytes take(size_t count, std::string_view part) {
    if (count > rest_.size()) {
      throw Error(Fault::kFormat,
                  fmt::format("{}: expected {} bytes, found {}", part, count, rest_.size()));
    }
    const Bytes taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
  }

  template <typename T>
  requires std::is_arithmetic_v<T> T get(std::string_view part) {
    T value;
    std::memcpy(&value, take(sizeof(T), part).data(), sizeof(T));
    return value;
  }

 private:
  Bytes rest_;
};

}  // namespace espalier
