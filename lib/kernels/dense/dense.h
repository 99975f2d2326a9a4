#pragma once

#include <cstddef>
#include <memory>

#include "lib/kernels/product.h"

namespace espalier {

/// Dense Y = W X + bias by oneDNN, W [m, k] packed once in oneDNN's own layout; the same interface.
std::unique_ptr<const Product> prepare_dense(const float* weight, size_t m, size_t k);

}  // namespace espalier
