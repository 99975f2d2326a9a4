#pragma once

#include <string>
#include <vector>

#include "lib/ir/model.h"

namespace espalier {

/// The weights of two models that have the same name, or names that a format with narrower
/// identifiers makes equal: by replaced characters, or by a number at the end of the second of two
/// names that differ in case alone. Without `literals`, integers and single numbers that are in one model
/// alone are left out: a format of one of them keeps no names of these.
struct WeightPairs {
  struct Pair {
    std::string name;  ///< in a
    const Weight *a = nullptr, *b = nullptr;
    bool other_format = false;  ///< a and b come from files of different formats
  };
  std::vector<Pair> pairs;
  std::vector<std::string> only_a, only_b;
};
WeightPairs pair_weights(const Model& a, const Model& b, bool literals);

/// Whether b is the shape of a matrix of shape a with its axes exchanged. NNEF keeps a packed weight
/// of MatMul as [outputs, inputs], ONNX as [inputs, outputs].
bool is_turned(const Shape& a, const Shape& b);
/// A matrix with its axes exchanged; elements of whole bytes.
Tensor transposed(const Tensor& matrix);

}  // namespace espalier
