#pragma once

#include "formats/onnx/tensor_proto.h"

namespace espalier {

/// A SparseTensorProto's elements: a SparseMatrix of 1x1 blocks for f32, f16 and bf16 of rank 2 and
/// more (its rows are the first axis), else a dense tensor. What stays in `proto` are its leftovers:
/// indices word for word, and values without type, shape and elements.
/// Errors  Fault::kFormat naming position and value: indices that are out of range, duplicate, or of
///         another length than the values; a dense size out of all proportion to what is stored.
std::variant<Tensor, SparseMatrix> take_sparse_tensor(pb::SparseTensorProto& proto,
                                                      ExternalFiles& external);

/// The elements of `weight` that are not a positive zero, in the order of the indices in
/// `leftovers` where these name all of them; else with ascending linear indices.
pb::SparseTensorProto put_sparse_tensor(const Weight& weight, pb::SparseTensorProto leftovers);

/// Elements that put_sparse_tensor would store of a weight that is new to the format.
size_t count_nonzero(const Tensor& dense);

/// A matrix of 1x1 blocks under another fold of the same shape.
SparseMatrix refolded(const SparseMatrix& matrix, const Fold& fold);

/// What is packed must not claim a dense size out of proportion to what the file holds of it.
/// Errors  Fault::kFormat: over 64 MiB and over 1000 times `stored_bytes`.
void check_expansion(size_t stored_bytes, size_t dense_bytes);

}  // namespace espalier
