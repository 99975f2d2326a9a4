#pragma once

// Inside lib/c only: what is behind the handles of the kernels.

#include <memory>

#include "lib/base/thread_pool.h"
#include "lib/c/kernels/espalier_kernels.h"
#include "lib/kernels/elementwise/stages.h"
#include "lib/kernels/sparse_product.h"

struct espalier_pool {
  espalier::ThreadPool pool;
};

struct espalier_matrix {
  espalier::SparseMatrix matrix;
};

namespace espalier {

/// The pool behind a handle; for null one of the calling thread alone.
ThreadPool& pool_of(espalier_pool* pool);

/// What a product does with its results: no stage, or one.
/// Errors  Fault::kUsage, kUnsupported for an activation that products have not.
class OutputStage {
 public:
  explicit OutputStage(const espalier_activation* activation);
  void apply(std::span<float> y, ThreadPool& pool) const {
    if (stage_.run != nullptr) apply_stages({&stage_, 1}, y, pool);
  }

 private:
  StageCall stage_{nullptr, 0, 0};
};

/// ESPALIER_EXACT_VALUES alone.
bool exact_values(uint32_t flags, const char* name);

}  // namespace espalier
