#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "lib/ops/operator.h"

namespace espalier {

/// Prepares and runs one node on values that are all known: constants before the first run, and
/// tests. An input that the node leaves out is null. Outputs that the node does not name, and those
/// that it does not make, are empty tensors. Nothing where outputs and scratch pass `byte_limit`.
/// Errors  those of the operator.
std::optional<std::vector<Tensor>> run_once(const Operator& entry, const Node& node, int64_t opset,
                                            const std::vector<const Weight*>& inputs,
                                            ThreadPool& pool, size_t byte_limit);

/// The run that half_as_f32 asks for: f16 and bf16 inputs become f32 in scratch memory, f32 outputs
/// are rounded to the type of the first such input.
Run with_half_as_f32(Run run);

/// Whether a weight reaches `entry` packed: it is taken packed and folds as the operator folds it.
bool reaches_packed(const Operator& entry, const Node& node, size_t input, const Weight& weight);

/// Whether operators can be given values of the type: not strings, nor floats of 6 bits.
bool has_view(DType dtype);

/// A tensor as operators see it, and what keeps those elements alive: aligned to `alignment` bytes
/// at least, and of sub-byte types a copy with a byte for each element. The view may not be
/// written.
struct Viewed {
  Tensor tensor;
  TensorView view;
};
/// Errors  Fault::kUnsupported for types without a view.
Viewed viewed(const Tensor& tensor, size_t alignment = 64);
/// The elements of a view as a tensor of their own.
Tensor tensor_of(const TensorView& view);

}  // namespace espalier
