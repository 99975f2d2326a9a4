#pragma once

#include "lib/tensor/tensor.h"

namespace espalier {

/// The elements of a deferred tensor, held by the result alone: `tensor` gives back what it made.
inline Tensor made_once(const Tensor& tensor) {
  Tensor held = tensor.held();
  tensor.give_back();
  return held;
}

}  // namespace espalier
