#pragma once

#include <optional>

#include "lib/ir/model.h"

namespace espalier {

/// How the weights of the operators with prunable weights fold to [outputs, inputs]
/// (Operator::fold). Nothing for other inputs, for shapes that the operator does not have, and for
/// empty weights.

/// B as [K, N], or as [N, K] with transB.
std::optional<Fold> fold_gemm(const Node& node, size_t input, const Shape& shape);
/// B [..., K, N]: one part per leading index. A [M, K]: a constant that multiplies from the left.
std::optional<Fold> fold_matmul(const Node& node, size_t input, const Shape& shape);
/// W [O, I / groups, k...]: one part of O / groups x I / groups * k per group.
std::optional<Fold> fold_conv(const Node& node, size_t input, const Shape& shape);
/// W [I, O / groups, k...] of a transposed convolution: one part of O / groups * k x I / groups per group.
std::optional<Fold> fold_conv_transpose(const Node& node, size_t input, const Shape& shape);
/// W and R [directions, gates * hidden, in]: one part per direction and gate.
std::optional<Fold> fold_recurrent(size_t gates, size_t input, const Shape& shape);

}  // namespace espalier
