#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace espalier {

/// What input from outside may ask for before it is refused (lib/base/limits.def): limits::npy_rank
/// and so on.
namespace limits {
inline constexpr uint64_t kKiB = 1024, kMiB = 1024 * 1024;
#define ESPALIER_LIMIT(name, value, unit, what) inline constexpr uint64_t name = value;
#include "lib/base/limits.def"
}  // namespace limits

struct Limit {
  std::string_view name;
  uint64_t value;
  std::string_view unit, what;
};
std::span<const Limit> all_limits();

}  // namespace espalier
