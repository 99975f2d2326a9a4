#pragma once

#include <set>

#include "formats/format.h"
#include "formats/onnx/decode_function.h"

namespace espalier {

/// What a model needs beside its graph once packed weights are spelled out.
struct PackedNeeds {
  std::map<std::string, DecodeForm> functions;  ///< called, by name
  int64_t opset = 0;                            ///< of the default domain
  int64_t ir_version = 0;
};

/// The graph with its packed weights, and those of its subgraphs, as `options` want them written:
/// calls of decode functions, their nodes, Constant nodes with a sparse_value, sparse initializers
/// (both recognised by their Weight::extra), or left as they are, which is written as dense. Where
/// no profile is asked for, a weight read from an ONNX file stays what it was there.
Graph lowered(const Graph& graph, const WriteOptions& options, PackedNeeds& needs);

}  // namespace espalier
