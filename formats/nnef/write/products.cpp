// Matrix products: NNEF wants factors of equal rank.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>

#include "formats/nnef/write/operators.h"

namespace espalier::nnef {
namespace {

// factor * wire, or the wire itself for 1.
std::string scaled(const std::string& text, float factor) {
  return factor == 1.0F ? text : fmt::format("mul({}, {})", text, literal(factor));
}

std::string matmul(const std::string& a, const std::string& b, bool transpose_a, bool transpose_b) {
  return fmt::format("matmul({}, {}{}{})", a, b, transpose_a ? ", transposeA = true" : "",
                     transpose_b ? ", transposeB = true" : "");
}

// One call for product and bias, where the profile has it.
bool sparse_gemm(NodeWriter& n, const Wire& a, float beta) {
  const bool outputs_first = int_attribute(n.node, "transB", 0) != 0;
  std::function<std::string()> bias;
  if (n.has(2)) bias = [&] { return scaled(n.raised(n.ranked(2), 2).id, beta); };
  const auto product = n.sparse_product(1, outputs_first, a, bias);
  if (!product) return false;
  const Extents weight = *n.known_extents(1);
  n.set(*product, Extents{(*a.extents)[0], weight[outputs_first ? 0 : 1]}, a.dtype);
  return true;
}

// A packed matrix behind an input of rank 2 or more.
bool sparse_matmul(NodeWriter& n, const Wire& a) {
  if (!n.is_constant(1) || a.extents->size() < 2) return false;
  const auto product = n.sparse_product(1, false, a);
  if (!product) return false;
  const Extents weight = *n.known_extents(1);
  Extents extents = *a.extents;
  for (size_t i = 2; i < weight.size(); ++i) {
    Dim& extent = extents[extents.size() - 1 - i];
    if (extent.is(1)) extent = weight[weight.size() - 1 - i];
  }
  extents.back() = weight.back();
  n.set(*product, extents, a.dtype);
  return true;
}

}  // namespace

// tract_core_einsum, whose letters give the extents of the result.
void spell_einsum(NodeWriter& n) {
  std::string expression;
  for (const char c : string_attribute(n.node, "equation", "")) {
    if (c != ' ') expression += c;
  }
  const size_t arrow = expression.find("->");
  if (arrow == std::string::npos) n.fail("an equation without '->' is not supported");
  std::map<char, Dim> known;
  std::vector<std::string> ids;
  std::string_view rest = std::string_view(expression).substr(0, arrow);
  for (size_t i = 0; i < n.inputs(); ++i) {
    const Wire x = n.ranked(i);
    const std::string_view letters = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), letters.size() + 1));
    if (letters.size() != x.extents->size()) n.fail("the equation does not fit the inputs");
    for (size_t axis = 0; axis < letters.size(); ++axis) {
      if (std::isalpha(static_cast<unsigned char>(letters[axis])) == 0) {
        n.fail("an equation with '...' is not supported");
      }
      Dim& extent = known.emplace(letters[axis], (*x.extents)[axis]).first->second;
      if (extent.is(1)) extent = (*x.extents)[axis];
    }
    ids.push_back(x.id);
  }
  Extents extents;
  for (const char letter : expression.substr(arrow + 2)) {
    if (!known.contains(letter)) n.fail("the equation does not fit the inputs");
    extents.push_back(known[letter]);
  }
  n.set(fmt::format("tract_core_einsum([{}], expr = '{}', acc = 'f32', output = '')",
                    fmt::join(ids, ", "), expression),
        extents, n.dtype(0));
}

void spell_gemm(NodeWriter& n) {
  const bool transpose_a = int_attribute(n.node, "transA", 0) != 0;
  const float alpha = float_attribute(n.node, "alpha", 1.0F);
  const float beta = float_attribute(n.node, "beta", 1.0F);
  const Wire a = n.ranked(0);
  if (!transpose_a && alpha == 1.0F && a.extents->size() == 2 && sparse_gemm(n, a, beta)) return;
  const MatrixWire b = n.matrix(1);
  const bool transpose_b = (int_attribute(n.node, "transB", 0) != 0) != b.is_flipped;
  if (a.extents->size() != 2 || b.wire.extents->size() != 2)
    n.fail("both factors must be matrices");
  const Extents extents{(*a.extents)[transpose_a ? 1 : 0], (*b.wire.extents)[transpose_b ? 0 : 1]};
  if (!n.has(2)) {
    return n.set(scaled(matmul(a.id, b.wire.id, transpose_a, transpose_b), alpha), extents,
                 a.dtype);
  }
  const std::string bias = scaled(n.raised(n.ranked(2), 2).id, beta);
  if (transpose_b && !transpose_a && alpha == 1.0F) {
    return n.set(fmt::format("linear({}, {}, {})", a.id, b.wire.id, bias), extents, a.dtype);
  }
  const std::string product = scaled(matmul(a.id, b.wire.id, transpose_a, transpose_b), alpha);
  n.set(fmt::format("add({}, {})", product, bias), extents, a.dtype);
}

// matmul of factors raised to one rank; vectors become matrices for the product.
void spell_matmul(NodeWriter& n) {
  Wire a = n.ranked(0);
  if (sparse_matmul(n, a)) return;
  MatrixWire b = n.matrix(1);
  const size_t rank_a = a.extents->size(), rank_b = b.wire.extents->size();
  if (rank_a == 0 || rank_b == 0) n.fail("a factor is a scalar");
  // A vector is a matrix of one row (left) or one column (right); that axis goes again at the end.
  if (rank_a == 1) a = n.raised(a, 2);
  if (rank_b == 1) b.wire = n.text.unsqueeze(b.wire, {1});
  const size_t rank = std::max(a.extents->size(), b.wire.extents->size());
  a = n.raised(a, rank);
  b.wire = n.raised(b.wire, rank);

  Extents extents;
  for (size_t i = 0; i + 2 < rank; ++i) {
    extents.push_back((*a.extents)[i].is(1) ? (*b.wire.extents)[i] : (*a.extents)[i]);
  }
  extents.push_back((*a.extents)[rank - 2]);
  extents.push_back((*b.wire.extents)[b.is_flipped ? rank - 2 : rank - 1]);
  const std::string product = matmul(a.id, b.wire.id, false, b.is_flipped);
  if (rank_a > 1 && rank_b > 1) return n.set(product, extents, a.dtype);

  const Wire whole = n.step("product", product, extents, a.dtype);
  std::vector<int64_t> gone;
  if (rank_a == 1) gone.push_back(static_cast<int64_t>(rank) - 2);
  if (rank_b == 1) gone.push_back(static_cast<int64_t>(rank) - 1);
  n.set(0, n.text.squeeze(whole, gone, n.id()));
}

}  // namespace espalier::nnef
