#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/ir/model.h"

namespace espalier {

/// The weights of two models whose names mean the same (paired_names). Without `literals`, integers
/// and single numbers that are in one model alone are left out: a format of one of them keeps no
/// names of these.
struct WeightPairs {
  struct Pair {
    std::string name;  ///< in a
    const Weight *a = nullptr, *b = nullptr;
    /// Along which axes their outputs lie, where an operator multiplies by them as matrices.
    std::optional<size_t> outputs_a, outputs_b;
    bool other_format = false;  ///< a and b come from files of different formats
  };
  std::vector<Pair> pairs;
  std::vector<std::pair<std::string, const Weight*>> only_a, only_b;
};
/// The axis of outputs of each weight that an operator multiplies by as a matrix.
std::map<const Weight*, size_t> outputs_axes(const Model& model);

WeightPairs pair_weights(const Model& a, const Model& b, bool literals);

/// The dense weight b laid out as a is, for their elements to be compared: with its outputs along
/// the axis of a's, as NNEF keeps a packed weight of MatMul as [outputs, inputs] and ONNX as [inputs,
/// outputs]. Axes of one element may differ. nullopt where the shapes are others.
std::optional<Tensor> as_in_a(const WeightPairs::Pair& pair);

/// Whether b is the shape of a matrix of shape a with its axes exchanged.
bool is_turned(const Shape& a, const Shape& b);

}  // namespace espalier
