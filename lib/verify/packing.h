#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/thread_pool.h"
#include "lib/ir/model.h"

namespace espalier {

/// Bit for bit; with `zero_signs_free`, zeros of either sign are equal (weights with a diagonal
/// kept apart).
bool equal_elements(const Tensor& a, const Tensor& b, bool zero_signs_free);

/// A packed weight against the dense one that it was made of, bit for bit: the dense values as
/// those of the packed type are (narrower floats rounded, i8 to multiples of its scale). What may
/// differ are negative zeros that packing makes zeros: how many; nothing where anything else does.
/// `pool` shares the work out, where there is one.
std::optional<size_t> lost_zero_signs(const SparseMatrix& packed, const Tensor& dense,
                                      ThreadPool* pool = nullptr);

/// The weights of `packed` against those of `masked` (the same graph with dense weights).
struct Packing {
  std::vector<std::string> wrong;  ///< names of those that do not decode to the dense ones
  size_t zero_signs = 0;           ///< negative zeros that are written as zeros
};
Packing check_packing(const Model& masked, const Model& packed, ThreadPool* pool = nullptr);

/// Weights of a model that was written and read back, against those that were to be written.
/// Without `literals`, integers and single numbers are not looked at: the format keeps no name for
/// them, and the run of the written file looks at those.
struct ReadBack {
  size_t compared = 0, total = 0;  ///< total: weights to be written; others go by another name
  std::vector<std::string> wrong;
};
ReadBack compare_read_back(const Model& written, const Model& read, bool literals);

}  // namespace espalier
