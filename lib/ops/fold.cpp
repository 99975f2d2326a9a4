#include "lib/ops/fold.h"

#include <algorithm>

namespace espalier {
namespace {

bool has_extents(const Shape& shape) {
  return std::ranges::all_of(shape, [](int64_t extent) { return extent > 0; });
}

size_t product(const Shape& shape, size_t first, size_t last) {
  size_t result = 1;
  for (size_t i = first; i < last; ++i) result *= static_cast<size_t>(shape[i]);
  return result;
}

}  // namespace

std::optional<Fold> fold_gemm(const Node& node, size_t input, const Shape& shape) {
  if (input != 1 || shape.size() != 2 || !has_extents(shape)) return std::nullopt;
  const auto [first, second] = std::pair(product(shape, 0, 1), product(shape, 1, 2));
  if (int_attribute(node, "transB", 0) != 0) return Fold{1, first, second, false};
  return Fold{1, second, first, true};
}

std::optional<Fold> fold_matmul(const Node&, size_t input, const Shape& shape) {
  const size_t rank = shape.size();
  if (rank < 2 || !has_extents(shape)) return std::nullopt;
  const size_t before_last = product(shape, rank - 2, rank - 1);
  const size_t last = product(shape, rank - 1, rank);
  if (input == 1) return Fold{product(shape, 0, rank - 2), last, before_last, true};
  if (input == 0 && rank == 2) return Fold{1, before_last, last, false};
  return std::nullopt;
}

std::optional<Fold> fold_conv(const Node& node, size_t input, const Shape& shape) {
  if (input != 1 || shape.size() < 3 || !has_extents(shape)) return std::nullopt;
  const int64_t groups = int_attribute(node, "group", 1);
  if (groups < 1 || shape[0] % groups != 0) return std::nullopt;
  const auto parts = static_cast<size_t>(groups);
  return Fold{parts, product(shape, 0, 1) / parts, product(shape, 1, shape.size()), false};
}

std::optional<Fold> fold_conv_transpose(const Node& node, size_t input, const Shape& shape) {
  if (input != 1 || shape.size() < 3 || !has_extents(shape)) return std::nullopt;
  const int64_t groups = int_attribute(node, "group", 1);
  if (groups < 1 || shape[0] % groups != 0) return std::nullopt;
  const auto parts = static_cast<size_t>(groups);
  return Fold{parts, product(shape, 1, shape.size()), product(shape, 0, 1) / parts, true};
}

std::optional<Fold> fold_recurrent(size_t gates, size_t input, const Shape& shape) {
  if ((input != 1 && input != 2) || shape.size() != 3 || !has_extents(shape)) return std::nullopt;
  const size_t stacked = product(shape, 1, 2);
  if (shape[0] > 2 || stacked % gates != 0) return std::nullopt;
  return Fold{product(shape, 0, 1) * gates, stacked / gates, product(shape, 2, 3), false};
}

}  // namespace espalier
