#pragma once

#include <concepts>
#include <cstdint>
#include <optional>

namespace espalier {

/// a * b, nothing where the product does not fit.
template <std::integral T>
std::optional<T> checked_mul(T a, T b) {
  T product;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

/// a + b, nothing where the sum does not fit.
template <std::integral T>
std::optional<T> checked_add(T a, T b) {
  T sum;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

/// a - b, nothing where the difference does not fit.
template <std::integral T>
std::optional<T> checked_sub(T a, T b) {
  T difference;
  if (__builtin_sub_overflow(a, b, &difference)) return std::nullopt;
  return difference;
}

/// An integer, or nothing once a step of its computation did not fit: sums and products of numbers
/// from files are written as formulas and asked for their value at the end.
template <std::integral T>
class Checked {
 public:
  Checked(T value) : value_(value) {}

  std::optional<T> value() const { return value_; }
  T value_or(T other) const { return value_.value_or(other); }

  friend Checked operator+(Checked a, Checked b) { return join(a, b, checked_add<T>); }
  friend Checked operator-(Checked a, Checked b) { return join(a, b, checked_sub<T>); }
  friend Checked operator*(Checked a, Checked b) { return join(a, b, checked_mul<T>); }

 private:
  explicit Checked(std::optional<T> value) : value_(value) {}
  static Checked join(Checked a, Checked b, std::optional<T> (*step)(T, T)) {
    return Checked(a.value_ && b.value_ ? step(*a.value_, *b.value_) : std::nullopt);
  }

  std::optional<T> value_;
};

/// How many pieces of `size` cover `total`.
constexpr size_t ceil_div(size_t total, size_t size) {
  return total / size + (total % size != 0 ? 1 : 0);
}

constexpr size_t round_up(size_t value, size_t multiple) {
  return ceil_div(value, multiple) * multiple;
}

}  // namespace espalier
