#include "formats/nnef/write/dim.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>

#include "lib/base/checked_math.h"
#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

constexpr char kUnknown = '?';  // starts the symbol of an extent without a spelling

[[noreturn]] void too_big() { throw Error(Fault::kFormat, "an extent does not fit into 64 bits"); }

int64_t added(int64_t a, int64_t b) {
  const auto sum = checked_add(a, b);
  if (!sum) too_big();
  return *sum;
}

int64_t multiplied(int64_t a, int64_t b) {
  const auto product = checked_mul(a, b);
  if (!product) too_big();
  return *product;
}

}  // namespace

Dim::Dim(int64_t value) {
  if (value != 0) terms_[{}] = value;
}

Dim Dim::symbol(std::string name) {
  Dim result;
  result.terms_[{std::move(name)}] = 1;
  return result;
}

Dim Dim::unknown() {
  static std::atomic<uint64_t> next{0};  // only ever compared for equality, never printed
  return symbol(fmt::format("{}{}", kUnknown, next++));
}

std::optional<int64_t> Dim::constant() const {
  if (terms_.empty()) return 0;
  if (terms_.size() == 1 && terms_.begin()->first.empty()) return terms_.begin()->second;
  return std::nullopt;
}

std::optional<std::string> Dim::spelled() const {
  for (const auto& [symbols, coefficient] : terms_) {
    const auto is_unknown = [](const std::string& symbol) { return symbol.front() == kUnknown; };
    if (std::ranges::any_of(symbols, is_unknown)) return std::nullopt;
  }
  return text();
}

std::string Dim::text() const {
  if (const auto value = constant()) return fmt::format("{}", *value);
  std::string out;
  // The constant term sorts first; it reads better at the end.
  for (auto term = terms_.rbegin(); term != terms_.rend(); ++term) {
    const auto& [symbols, coefficient] = *term;
    std::string text = fmt::format("{}", fmt::join(symbols, " * "));
    const int64_t size =
        coefficient < 0 && !out.empty() ? multiplied(coefficient, -1) : coefficient;
    if (symbols.empty()) {
      text = fmt::format("{}", size);
    } else if (size != 1) {
      text = fmt::format("{} * {}", size, text);
    }
    if (!out.empty()) out += coefficient < 0 ? " - " : " + ";
    out += text;
  }
  return out;
}

void Dim::add(const Monomial& monomial, int64_t coefficient) {
  const auto [place, is_new] = terms_.try_emplace(monomial, coefficient);
  if (is_new) return;
  place->second = added(place->second, coefficient);
  if (place->second == 0) terms_.erase(place);
}

Dim Dim::operator+(const Dim& other) const {
  Dim result = *this;
  for (const auto& [monomial, coefficient] : other.terms_) result.add(monomial, coefficient);
  return result;
}

Dim Dim::operator-(const Dim& other) const { return *this + other * Dim(-1); }

Dim Dim::operator*(const Dim& other) const {
  Dim result;
  for (const auto& [a, x] : terms_) {
    for (const auto& [b, y] : other.terms_) {
      Monomial both = a;
      both.insert(both.end(), b.begin(), b.end());
      std::ranges::sort(both);
      result.add(both, multiplied(x, y));
    }
  }
  return result;
}

std::optional<bool> equal(const Dim& a, const Dim& b) {
  const Dim difference = a - b;
  if (difference.terms_.empty()) return true;
  const auto has_sign = [&](int64_t sign) {
    return std::ranges::all_of(difference.terms_,
                               [&](const auto& term) { return (term.second > 0) == (sign > 0); });
  };
  const bool has_constant = difference.terms_.contains({});
  if (has_constant && (has_sign(1) || has_sign(-1))) return false;
  return std::nullopt;
}

std::optional<Dim> exact_quotient(const Dim& a, const Dim& b) {
  if (b.terms_.size() != 1) return std::nullopt;
  const auto& [divisor, scale] = *b.terms_.begin();
  if (scale < 1) return std::nullopt;
  Dim result;
  for (const auto& [monomial, coefficient] : a.terms_) {
    if (coefficient % scale != 0 ||
        !std::includes(monomial.begin(), monomial.end(), divisor.begin(), divisor.end())) {
      return std::nullopt;
    }
    std::vector<std::string> rest;
    std::ranges::set_difference(monomial, divisor, std::back_inserter(rest));
    result.add(rest, coefficient / scale);
  }
  return result;
}

Dim floor_quotient(const Dim& a, int64_t b) {
  if (const auto value = a.constant()) {
    return Dim(*value / b - (*value % b != 0 && *value < 0 ? 1 : 0));
  }
  if (const auto quotient = exact_quotient(a, Dim(b))) return *quotient;
  return Dim::symbol(fmt::format("{}({})/{}", kUnknown, a.text(), b));
}

Dim product(const Extents& dims, size_t first, size_t last) {
  Dim result(1);
  for (size_t i = first; i < last; ++i) result = result * dims[i];
  return result;
}

std::string to_string(const Extents& dims) {
  std::string out = "[";
  for (const Dim& dim : dims) {
    out += (out.size() > 1 ? ", " : "") + dim.spelled().value_or("?");
  }
  return out + "]";
}

}  // namespace espalier::nnef
