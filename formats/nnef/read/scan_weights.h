#pragma once

#include <optional>
#include <vector>

#include "formats/nnef/read/scan_step.h"

namespace espalier::nnef {

/// X and W of a tensor [T, N, gates * H] that is X W^T.
struct Projection {
  TensorRef x, w;
};

/// Recognises X W^T computed directly, with N in front of T, or with T and N as one axis.
std::optional<Projection> projection(GraphBuilder& graph, const TensorRef& tensor);

/// B of ONNX if `bias` is the sum of its two halves, which are slices of one constant [1, 2 *
/// rows].
std::optional<TensorRef> halves_of(const GraphBuilder& graph, const TensorRef& bias, int64_t rows);

/// B of ONNX from the sum of both biases: the sum as the first half, zeros as the second.
std::optional<TensorRef> with_zero_half(const TensorRef& bias, int64_t rows);

/// Constants [rows, cols] (extents of 1 in front) stacked; a single one is returned unchanged.
TensorRef below_each_other(const std::vector<TensorRef>& parts, int64_t rows, int64_t cols);

/// B [2 * rows], rows = gates * H: the biases added to x W^T (`of_x`, per gate, and those of the
/// gates), then those added to h R^T (of `held`).
TensorRef both_biases(const ScanStep& step, const std::vector<std::vector<TensorRef>>& of_x,
                      int64_t rows, DType dtype);

}  // namespace espalier::nnef
