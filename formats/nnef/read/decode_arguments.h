#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "formats/nnef/read/call.h"
#include "lib/sparse/sparse_matrix.h"

namespace espalier::nnef {

/// Limits of what a short file can ask for: they bound memory.
constexpr size_t kMaxElements = size_t{1} << 30;
constexpr size_t kMaxBlockRows = size_t{1} << 24;
constexpr size_t kMaxCopied = size_t{1} << 26;  ///< elements made of fewer

/// Arguments of the fragments that decode packed weights.
/// Errors  Fault::kFormat where an argument is not of the expected form; NotTranslated where it is
///         not a constant.

/// A dense constant.
const Constant& constant_argument(const Call& call, std::string_view name);

/// `count` integers from 0 on.
std::vector<int64_t> integers(const Call& call, std::string_view name, size_t count);

/// Fails unless `have` is `want`.
void expect_shape(const Call& call, std::string_view name, const Shape& have, const Shape& want);

/// Argument "values": blocks [N, br, bc] as f32, f16 or i8; other integers become f32.
Tensor block_values(const Call& call);

/// The integers of a constant, also where it stores them as scalars.
std::vector<int64_t> index_values(const Call& call, const Constant& constant);

/// NAME if the parts are labelled NAME/values and NAME/index (or NAME/map, as `other` says), else
/// "".
std::string weight_name(const Call& call, std::string_view other);

/// a * b, or SIZE_MAX.
size_t capped_product(int64_t a, int64_t b);

/// A packed weight as a value; it has a label if `name` is not empty.
EvalValue packed_weight(std::string name, SparseMatrix matrix);

}  // namespace espalier::nnef
