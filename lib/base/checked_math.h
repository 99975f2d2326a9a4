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

/// How many pieces of `size` cover `total`.
constexpr size_t ceil_div(size_t total, size_t size) {
  return total / size + (total % size != 0 ? 1 : 0);
}

constexpr size_t round_up(size_t value, size_t multiple) {
  return ceil_div(value, multiple) * multiple;
}

}  // namespace espalier
