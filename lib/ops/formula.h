#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace espalier {

/// Formulas of vectors in a normal form: sums of products of atoms, so that two spellings of one
/// formula (operands swapped, (1 - z) n or n - z n) are equal polynomials. Products and sums are
/// elementwise; multiplication by a matrix, and activations, are atoms of their own.
///
/// Number of an atom in its table.
using Atom = uint32_t;

struct ColumnRange {
  int64_t begin = 0, end = 0;

  int64_t size() const { return end - begin; }
  bool operator==(const ColumnRange&) const = default;
};

/// Coefficients by the atoms that they are multiplied with, in order; the empty product is 1.
struct Polynomial {
  using Product = std::vector<Atom>;
  std::map<Product, double> terms;

  static Polynomial number(double value);
  static Polynomial atom(Atom atom, double coefficient = 1);

  bool is_zero() const { return terms.empty(); }
  bool operator==(const Polynomial&) const = default;
};

/// Equal but for rounding of the coefficients.
bool is_near(const Polynomial& a, const Polynomial& b);
/// a + scale * b
Polynomial sum(const Polynomial& a, const Polynomial& b, double scale = 1);
/// Nothing where the result would have more terms than a step of a layer has.
std::optional<Polynomial> product(const Polynomial& a, const Polynomial& b);
/// a = quotient * atom + rest, where rest has no term with the atom; of a term that holds it
/// several times one is taken.
struct Division {
  Polynomial quotient, rest;
};
Division divide(const Polynomial& a, Atom atom);
/// The factor that makes `a` of `b`; nothing where there is none.
std::optional<double> ratio(const Polynomial& a, const Polynomial& b);

/// What a polynomial is made of.
struct AtomRecord {
  enum class Kind : uint8_t {
    kInput,     ///< columns of input `source` of the step
    kConstant,  ///< elements of constant `source`, a vector
    kProduct,   ///< `argument` times a matrix, columns `columns` of the result
    kFunction,  ///< function(argument)
  };
  Kind kind = Kind::kInput;
  size_t source = 0;
  ColumnRange columns;      ///< of a product: of the axis of outputs as the constant is stored
  ColumnRange inputs;       ///< of a product: of the other axis
  bool transposed = false;  ///< of a product: the matrix is stored as [outputs, inputs]
  std::string function;     ///< an activation as GRU, LSTM and RNN name it
  double alpha = 0, beta = 0;
  Polynomial argument;

  bool operator<(const AtomRecord& other) const;
};

/// Equal atoms have equal numbers.
class AtomTable {
 public:
  Atom add(AtomRecord record);
  const AtomRecord& operator[](Atom atom) const { return *records_[atom]; }

  /// Columns begin to end of what the polynomial stands for.
  Polynomial columns(const Polynomial& whole, ColumnRange range);

 private:
  Atom column_atom(Atom whole, ColumnRange range);

  std::map<AtomRecord, Atom> numbers_;
  std::vector<const AtomRecord*> records_;
};

}  // namespace espalier
