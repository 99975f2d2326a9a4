#pragma once

#include <map>
#include <set>

#include "formats/onnx/operator_function.h"

namespace espalier {

/// The decode functions that a model defines as espalier does, by name.
using DecodeFunctions = std::map<std::string, DecodeForm>;
/// Those of profile operator.
using OperatorFunctions = std::set<std::string>;

/// Puts packed weights where `graph` and its subgraphs call one of `functions` or `operators`, or
/// spell a decode's nodes out, on constants; drops the decodes and the parts that nothing else reads.
/// Errors  Fault::kFormat naming the weight, where a call's parts break an invariant. Spelled-out
/// nodes that do are left as they are: they are plain ONNX.
Graph with_packed_weights(Graph graph, const DecodeFunctions& functions,
                          const OperatorFunctions& operators = {});

}  // namespace espalier
