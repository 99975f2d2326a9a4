#pragma once

#include <unordered_map>

#include "formats/onnx/tensor_proto.h"

namespace espalier {

/// What a Weight's `extra` says about where it stood in the file: one of these, then the leftovers
/// of its message, serialised. Empty: an initializer or Constant node without leftovers.
inline constexpr char kTensorOrigin = 'T';             // TensorProto
inline constexpr char kSparseInitializerOrigin = 'S';  // SparseTensorProto, its indices whole
inline constexpr char kSparseValueOrigin = 'V';        // the same, in a Constant node
inline constexpr char kFunctionOrigin = 'F';           // decoded by a function of espalier's
inline constexpr char kInlineOrigin = 'I';             // decoded by nodes of espalier's
/// After kFunctionOrigin or kInlineOrigin: elements of the weight were in a data file.
inline constexpr char kDataFileMark = 'E';
/// 0 where there is none.
inline char origin_of(const Weight& weight) {
  return weight.extra.empty() ? '\0' : weight.extra.front();
}
/// Whether a weight that was read from ONNX had elements in a data file.
bool was_external(const Weight& weight);

/// Names that a subgraph sees from outside.
struct KnownNames {
  const KnownNames* outer = nullptr;
  const std::unordered_map<std::string, ValueId>* names = nullptr;
  bool knows(const std::string& name) const {
    return names->contains(name) || (outer != nullptr && outer->knows(name));
  }
};

struct GraphSource {
  ExternalFiles& external;
  std::shared_ptr<const void> owner;    ///< of initializer_data
  std::vector<Bytes> initializer_data;  ///< of the main graph, see LeanModel
  /// Before IR version 4 constants must be listed among the inputs: that says nothing of them.
  bool lists_constants = false;
};

/// Moves everything out of `proto`. Nodes, values and weights keep the order of the file; values
/// come first that initializers name, then inputs, then what nodes make.
/// Errors  Fault::kFormat / kUnsupported naming node, value, tensor: names used twice or made by
/// nobody, cycles, bad tensors and attributes.
Graph read_graph(pb::GraphProto& proto, GraphSource& source);

/// The attributes of a Constant node that hold its value.
bool is_constant_attribute(std::string_view name);
bool is_constant(const Node& node);

}  // namespace espalier
