#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace espalier {

/// FNV-1a, 64 bit; `hash` goes on from what came before.
/// Source  RFC 9923.
constexpr uint64_t fnv1a(std::span<const std::byte> bytes, uint64_t hash = 0xCBF29CE484222325) {
  for (const std::byte byte : bytes) {
    hash = (hash ^ static_cast<uint64_t>(byte)) * 0x100000001B3;
  }
  return hash;
}

}  // namespace espalier
