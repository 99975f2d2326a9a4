#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "lib/ops/operator.h"

namespace espalier {

/// Prepares and runs one node on values that are all known: constants before the first run, and
/// tests. An input that the node leaves out is null. Outputs that the node does not name, and those
/// that it does not make, are empty tensors.
/// Nothing where outputs and scratch pass `byte_limit`. Errors  those of the operator.
std::optional<std::vector<Tensor>> run_once(const Operator& entry, const Node& node, int64_t opset,
                                            const std::vector<const Weight*>& inputs,
                                            ThreadPool& pool, size_t byte_limit);

/// The run that half_as_f32 asks for: f16 and bf16 inputs become f32 in scratch memory, f32 outputs
/// are rounded to the type of the first such input.
Run with_half_as_f32(Run run);

/// Whether a weight reaches `entry` packed: it is taken packed and folds as the operator folds it.
bool reaches_packed(const Operator& entry, const Node& node, size_t input, const Weight& weight);

/// A view of a tensor's bytes, which must be aligned (Tensor::aligned) and may not be written.
/// Errors  Fault::kUnsupported for types that do not fill whole bytes (strings, 4-bit integers).
TensorView view_of(const Tensor& tensor);

}  // namespace espalier
