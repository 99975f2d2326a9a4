#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "lib/ir/model.h"

namespace espalier {

/// What a model's file says about itself besides its graph.
struct ModelFacts {
  std::string version;   ///< of the format: "IR 8"; empty where the file does not say
  std::string producer;  ///< "pytorch 2.4.0"; empty where the file does not say
  std::vector<std::pair<std::string, int64_t>> opsets;  ///< domain ("ai.onnx" for ONNX's own)
  std::vector<std::string> metadata;  ///< what else it says, by name: documentation, keys of users
};

ModelFacts facts_of(const Model& model);

}  // namespace espalier
