#include "lib/ops/formula.h"

#include <algorithm>
#include <cmath>
#include <tuple>

namespace espalier {
namespace {

// A step of an LSTM with its gates multiplied out has a dozen.
constexpr size_t kMaxTerms = 64;

void add_term(Polynomial& to, const Polynomial::Product& product, double coefficient) {
  const auto [term, is_new] = to.terms.emplace(product, 0.0);
  term->second += coefficient;
  if (term->second == 0) to.terms.erase(term);
}

bool is_near(double a, double b) { return std::abs(a - b) <= 1e-6 * std::max(1.0, std::abs(b)); }

}  // namespace

Polynomial Polynomial::number(double value) {
  Polynomial result;
  if (value != 0) result.terms.emplace(Product{}, value);
  return result;
}

Polynomial Polynomial::atom(Atom atom, double coefficient) {
  Polynomial result;
  if (coefficient != 0) result.terms.emplace(Product{atom}, coefficient);
  return result;
}

bool is_near(const Polynomial& a, const Polynomial& b) {
  return std::ranges::equal(a.terms, b.terms, [](const auto& one, const auto& other) {
    return one.first == other.first && is_near(one.second, other.second);
  });
}

Polynomial sum(const Polynomial& a, const Polynomial& b, double scale) {
  Polynomial result = a;
  for (const auto& [product, coefficient] : b.terms) add_term(result, product, scale * coefficient);
  return result;
}

std::optional<Polynomial> product(const Polynomial& a, const Polynomial& b) {
  if (a.terms.size() * b.terms.size() > kMaxTerms) return std::nullopt;
  Polynomial result;
  for (const auto& [left, x] : a.terms) {
    for (const auto& [right, y] : b.terms) {
      Polynomial::Product both;
      std::ranges::merge(left, right, std::back_inserter(both));
      add_term(result, both, x * y);
    }
  }
  return result;
}

Division divide(const Polynomial& a, Atom atom) {
  Division result;
  for (const auto& [product, coefficient] : a.terms) {
    const auto found = std::ranges::find(product, atom);
    if (found == product.end()) {
      result.rest.terms.emplace(product, coefficient);
      continue;
    }
    Polynomial::Product left(product.begin(), found);
    left.insert(left.end(), found + 1, product.end());
    result.quotient.terms.emplace(std::move(left), coefficient);
  }
  return result;
}

std::optional<double> ratio(const Polynomial& a, const Polynomial& b) {
  if (a.is_zero() || b.is_zero()) return std::nullopt;
  const double factor = a.terms.begin()->second / b.terms.begin()->second;
  if (!is_near(sum({}, b, factor), a)) return std::nullopt;
  return factor;
}

bool AtomRecord::operator<(const AtomRecord& other) const {
  const auto key = [](const AtomRecord& r) {
    return std::tie(r.kind, r.source, r.columns.begin, r.columns.end, r.inputs.begin, r.inputs.end,
                    r.transposed, r.function, r.alpha, r.beta, r.argument.terms);
  };
  return key(*this) < key(other);
}

Atom AtomTable::add(AtomRecord record) {
  const auto [entry, is_new] =
      numbers_.emplace(std::move(record), static_cast<Atom>(records_.size()));
  if (is_new) records_.push_back(&entry->first);
  return entry->second;
}

Polynomial AtomTable::columns(const Polynomial& whole, ColumnRange range) {
  Polynomial result;
  for (const auto& [product, coefficient] : whole.terms) {
    Polynomial::Product part;
    for (const Atom atom : product) part.push_back(column_atom(atom, range));
    std::ranges::sort(part);
    add_term(result, part, coefficient);
  }
  return result;
}

Atom AtomTable::column_atom(Atom whole, ColumnRange range) {
  AtomRecord record = *records_[whole];
  if (record.kind == AtomRecord::Kind::kFunction) {
    record.argument = columns(record.argument, range);
  } else {
    record.columns = {record.columns.begin + range.begin, record.columns.begin + range.end};
  }
  return add(std::move(record));
}

}  // namespace espalier
