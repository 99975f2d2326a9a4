#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "lib/prune/select/selection.h"

namespace espalier {

/// The constant that is added to what a layer's parts put out: C of Gemm, B of Conv, GRU, LSTM and
/// RNN, the other operand of the Add behind a MatMul; behind a Conv that has none, the mean that
/// BatchNormalization subtracts.
struct LayerBias {
  std::string prefix;  ///< the graph it lies in: the layer's own
  ValueId value = 0;
  std::vector<size_t> first;  ///< per part: where the bias of its first output stands
  double scale = 1;           ///< makes up for a change of W x by 1
};

/// One for each layer; nothing where there is no such constant, where it is no f32 tensor with one
/// number per output, or where weight or bias are read by others too: changing it would change
/// these.
std::vector<std::optional<LayerBias>> layer_biases(const Model& model,
                                                   const std::vector<Layer>& layers);

}  // namespace espalier
