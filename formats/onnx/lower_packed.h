#pragma once

#include <set>

#include "formats/format.h"
#include "formats/onnx/decode_function.h"
#include "formats/onnx/operator_function.h"

namespace espalier {

/// What a model needs beside its graph once packed weights are spelled out.
struct PackedNeeds {
  std::map<std::string, DecodeForm> functions;                ///< called, by name
  std::map<std::string_view, const OperatorForm*> operators;  ///< the same
  int64_t opset = 0;                                          ///< of the default domain
  int64_t ir_version = 0;
};

/// The graph with its packed weights, and those of its subgraphs, as `options` want them written:
/// calls of decode functions, their nodes, calls of functions that hold the reader too, Constant
/// nodes with a sparse_value, sparse initializers (both recognised by their Weight::extra), or left
/// as they are, which is written as dense. Where no profile is asked for, a weight read from an ONNX
/// file stays what it was there. `opset` is the model's.
Graph lowered(const Graph& graph, int64_t opset, const WriteOptions& options, PackedNeeds& needs);

}  // namespace espalier
