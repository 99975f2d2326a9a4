#pragma once

#include "formats/onnx/tensor_proto.h"

namespace espalier {

/// Elements that go to a file beside the model, in order of their offsets.
struct ExternalWriter {
  struct Part {
    uint64_t offset = 0;
    std::function<Tensor()> data;
  };
  std::string location;  ///< name of that file; empty: there is none
  std::vector<Part> parts;
  uint64_t end = 0;

  /// Takes the elements out of `tensor`, where they are many.
  void take(StoredTensor& tensor);
};

/// The graph without the main graph's initializers, which come apart, in order, so that large ones
/// are made and written one after another. `own_extra`: `extra` fields are ONNX's.
/// Errors  Fault::kUnsupported naming node and operator that ONNX does not have.
pb::GraphProto graph_proto(const Graph& graph, bool own_extra, ExternalWriter& external,
                           std::vector<StoredTensor>& initializers);

}  // namespace espalier
