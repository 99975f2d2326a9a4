#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::nnef {

/// An extent that may depend on free dimensions: a polynomial over their symbols with integer
/// coefficients. What no polynomial says (a rounded quotient) is a symbol of its own without a
/// spelling.
class Dim {
 public:
  Dim(int64_t value = 0);  // NOLINT(google-explicit-constructor): an extent is mostly a number
  static Dim symbol(std::string name);
  /// A new extent that nothing else is known to be equal to.
  static Dim unknown();

  std::optional<int64_t> constant() const;
  bool is(int64_t value) const { return constant() == value; }
  /// As an NNEF expression: `N`, `2 * N + 1`. Nothing where an unknown extent takes part.
  std::optional<std::string> spelled() const;

  /// Errors  Fault::kFormat where a coefficient passes 64 bits.
  Dim operator+(const Dim& other) const;
  Dim operator-(const Dim& other) const;
  Dim operator*(const Dim& other) const;
  bool operator==(const Dim&) const = default;

 private:
  using Monomial = std::vector<std::string>;  // symbols, sorted; repeated for powers
  friend std::optional<Dim> exact_quotient(const Dim& a, const Dim& b);
  friend std::optional<bool> equal(const Dim& a, const Dim& b);
  friend Dim floor_quotient(const Dim& a, int64_t b);
  std::string text() const;  // of what has no spelling too
  void add(const Monomial& monomial, int64_t coefficient);

  std::map<Monomial, int64_t> terms_;  // no coefficient is 0
};

using Extents = std::vector<Dim>;

/// Whether both are equal, whatever their symbols (0 or more) stand for; nothing where that
/// decides.
std::optional<bool> equal(const Dim& a, const Dim& b);
/// a / b where b is a single term that divides every term of a.
std::optional<Dim> exact_quotient(const Dim& a, const Dim& b);
/// floor(a / b) for b > 0; without a spelling where it depends on symbols, and equal only to the
/// same quotient of the same extent.
Dim floor_quotient(const Dim& a, int64_t b);
Dim product(const Extents& dims, size_t first, size_t last);
/// "[N, 64]" for messages.
std::string to_string(const Extents& dims);

}  // namespace espalier::nnef
