#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "lib/base/byte_reader.h"

namespace espalier {

/// SHA-256 of bytes that come piece by piece.
/// Source  FIPS 180-4.
class Sha256 {
 public:
  void add(Bytes bytes);
  /// 64 hexadecimal digits, as sha256sum prints them. Called once, after the last add().
  std::string hex();

 private:
  void block(const std::byte* bytes);

  std::array<uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::byte, 64> rest_{};  // of an unfinished block
  uint64_t bytes_ = 0;
};

std::string sha256(Bytes bytes);

}  // namespace espalier
