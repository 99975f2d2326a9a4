#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace espalier {

/// Takes a fuzzer's bytes apart into choices; zeros once they are used up.
class FuzzInput {
 public:
  FuzzInput(const uint8_t* data, size_t size) : rest_(data, size) {}

  bool empty() const { return rest_.empty(); }
  std::span<const uint8_t> rest() const { return rest_; }

  uint8_t byte() {
    if (rest_.empty()) return 0;
    const uint8_t first = rest_.front();
    rest_ = rest_.subspan(1);
    return first;
  }
  bool coin() { return (byte() & 1) != 0; }
  template <typename T>
  T number() {
    T value{};
    const size_t count = std::min(sizeof(T), rest_.size());
    if (count != 0) std::memcpy(&value, rest_.data(), count);
    rest_ = rest_.subspan(count);
    return value;
  }
  /// From `low` to `high`.
  size_t between(size_t low, size_t high) { return low + number<uint16_t>() % (high - low + 1); }
  template <typename T, size_t N>
  const T& one_of(const T (&list)[N]) {
    return list[byte() % N];
  }
  /// Up to 255 bytes, their number first.
  std::string text() {
    const size_t count = std::min<size_t>(byte(), rest_.size());
    std::string result(reinterpret_cast<const char*>(rest_.data()), count);
    rest_ = rest_.subspan(count);
    return result;
  }
  /// A finite number of two bytes: from about -8 to 8, often zero.
  float value() {
    const auto bits = number<int16_t>();
    return bits % 4 == 0 ? 0.0F : static_cast<float>(bits) / 4096;
  }
  std::vector<float> values(size_t count) {
    std::vector<float> result(count);
    for (float& one : result) one = value();
    return result;
  }

 private:
  std::span<const uint8_t> rest_;
};

}  // namespace espalier
