#pragma once

#include <string>
#include <vector>

#include "lib/ir/model.h"
#include "lib/prune/select/selection.h"

namespace espalier {

/// A constant of rank 2 and more that is not among the layers: a bias, a mask, an initial state, a
/// table of indices.
struct OtherConstant {
  std::string weight;  ///< name with the subgraph's prefix
  std::string node, op;
  Shape shape;
  DType dtype = DType::kUnknown;
  std::string reason;  ///< why it is not a layer
};

/// All that operators read, but for empty ones, in graph order.
std::vector<OtherConstant> other_constants(const Model& model, const std::vector<Layer>& layers);

}  // namespace espalier
