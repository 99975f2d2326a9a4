#include "apps/espalier/weights.h"

#include <algorithm>
#include <map>

#include "formats/format.h"
#include "lib/passes/uncover_weights.h"
#include "lib/sparse/pack.h"
#include "lib/verify/data.h"

namespace espalier {
namespace {

template <typename Bits>
bool equal_or_zero(const Tensor& a, const Tensor& b) {
  constexpr auto kMagnitude = static_cast<Bits>(~Bits{0}) >> 1;
  const Tensor x = a.aligned(), y = b.aligned();
  return std::ranges::equal(x.data<Bits>(), y.data<Bits>(), [](Bits p, Bits q) {
    return p == q || ((p & kMagnitude) == 0 && (q & kMagnitude) == 0);
  });
}

}  // namespace

Model read_uncovered(const std::filesystem::path& path, size_t threads) {
  ThreadPool pool(threads);
  return with_uncovered_weights(read_model(path), pool);
}

std::vector<std::pair<std::string, const Weight*>> named_weights(const Model& model) {
  std::vector<std::pair<std::string, const Weight*>> result;
  for_each_graph(model.graph, [&](const Graph& graph, const std::string& prefix) {
    for (const auto& [value, weight] : graph.weights)
      result.emplace_back(prefix + graph.values[value].name, &weight);
  });
  return result;
}

Tensor dense_of(const Weight& weight) {
  return weight.is_sparse() ? decode(weight.sparse()) : weight.dense();
}

uint64_t stored_bytes(const Weight& weight) {
  return weight.is_sparse() ? packed_bytes(weight.sparse()) : weight.dense().bytes().size();
}

bool equal_elements(const Tensor& a, const Tensor& b, bool zero_signs_free) {
  if (same_bits(a, b)) return true;
  if (!zero_signs_free || a.dtype() != b.dtype() || a.shape() != b.shape()) return false;
  if (!is_float(a.dtype())) return false;
  switch (bytes_of(a.dtype())) {
    case 2:
      return equal_or_zero<uint16_t>(a, b);
    case 4:
      return equal_or_zero<uint32_t>(a, b);
    default:
      return equal_or_zero<uint64_t>(a, b);
  }
}

bool decodes_to(const SparseMatrix& packed, const Tensor& dense) {
  const Tensor decoded = decode(packed);
  const DType narrow = packed.values.dtype();
  if (narrow == packed.dtype) return equal_elements(decoded, dense, packed.has_diagonal());
  const Tensor rounded = from_f32(to_f32(dense), narrow, dense.shape());
  return equal_elements(decoded, from_f32(to_f32(rounded), dense.dtype(), dense.shape()), true);
}

std::vector<std::string> wrongly_packed(const Model& masked, const Model& packed) {
  const auto dense = named_weights(masked), sparse = named_weights(packed);
  ESPALIER_CHECK(dense.size() == sparse.size());
  std::vector<std::string> wrong;
  for (size_t i = 0; i < dense.size(); ++i) {
    const auto& [name, weight] = sparse[i];
    const bool right = weight->is_sparse()
                           ? decodes_to(weight->sparse(), dense_of(*dense[i].second))
                           : same_bits(weight->dense(), dense_of(*dense[i].second));
    if (!right) wrong.push_back(name);
  }
  return wrong;
}

ReadBack compare_read_back(const Model& wanted, const Model& read) {
  std::map<std::string, const Weight*> found;
  for (const auto& [name, weight] : named_weights(read)) found.emplace(name, weight);
  ReadBack result;
  for (const auto& [name, weight] : named_weights(wanted)) {
    ++result.total;
    const auto other = found.find(name);
    if (other == found.end() || other->second->shape() != weight->shape() ||
        other->second->dtype() != weight->dtype()) {
      continue;
    }
    ++result.compared;
    const bool diagonal = weight->is_sparse() && weight->sparse().has_diagonal();
    if (!equal_elements(dense_of(*weight), dense_of(*other->second), diagonal))
      result.wrong.push_back(name);
  }
  return result;
}

bool any_packed(const Model& model) {
  return std::ranges::any_of(named_weights(model),
                             [](const auto& entry) { return entry.second->is_sparse(); });
}

bool any_int8(const Model& model) {
  return std::ranges::any_of(named_weights(model), [](const auto& entry) {
    return entry.second->is_sparse() && entry.second->sparse().values.dtype() == DType::kI8;
  });
}

}  // namespace espalier
