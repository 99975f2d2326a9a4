#pragma once

#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "formats/onnx/decode_function.h"

namespace espalier {

/// From how many bytes of the dense weight on onnxruntime's memory at load decides the form.
inline constexpr uint64_t kLargeDecode = uint64_t{32} << 20;

/// Whether the spelled-out decode of a weight is written in stages: a bitmap of elements of a large
/// weight. onnxruntime lets go of what a branch of an If folded before it folds what reads the
/// result.
bool takes_stages(const DecodeForm& form, uint64_t dense_bytes);

/// What in_stages() takes from the graph that it writes into.
struct StageNames {
  std::unordered_map<std::string, ValueId> ids;           ///< of the decode's values
  std::function<ValueId(Tensor, const char*)> constant;   ///< an initializer
  std::function<std::string(std::string)> unique;         ///< a name that is not taken
};

/// The nodes of a spelled-out decode with the places of all blocks, and where matrices are stacked
/// the values of all blocks too, in a branch of an If each.
std::vector<Node> in_stages(Graph& graph, std::vector<Node> nodes, const DecodeForm& form,
                            const StageNames& names);

/// Puts the nodes of such branches back in the place of their If. Others are left as they are.
void join_stages(Graph& graph);

}  // namespace espalier
