#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "formats/nnef/read/graph.h"
#include "lib/base/error.h"

namespace espalier::nnef {

/// Variables of a document in memory, by label.
using Variables = std::map<std::string, Tensor, std::less<>>;

/// Items 1, 2, 3, ...
inline Tensor ramp(Shape shape) {
  Tensor result = Tensor::zeros(DType::kF32, std::move(shape));
  float value = 0;
  for (float& one : result.mutable_data<float>()) one = ++value;
  return result;
}

inline Model read_text(const std::string& text, const Variables& variables = {},
                       const std::string& quantization = "") {
  Document document = parse_document(text);
  document.quantization = parse_quantization(quantization);
  return translate(document, [&](std::string_view label) {
    const auto found = variables.find(label);
    if (found == variables.end())
      throw Error(Fault::kFormat, fmt::format("{}.dat is missing", label));
    return found->second;
  });
}

/// A graph of x to y with this body, `head` in front of it.
inline Model read_body(const std::string& body, const Variables& variables = {},
                       const std::string& head = "") {
  return read_text("version 1.0;\nextension tract_registry tract_core;\n" + head +
                       "graph g( x ) -> ( y )\n{\n" + body + "\n}\n",
                   variables);
}

inline std::string error_of_body(const std::string& body, const Variables& variables = {},
                                 const std::string& head = "") {
  try {
    read_body(body, variables, head);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

/// "y[1, 4] = Gemm(x, w)", one line per node.
inline std::vector<std::string> lines(const Graph& graph) {
  const auto name = [&](ValueId id) { return id == kNoValue ? "_" : graph.values[id].name; };
  std::vector<std::string> result;
  for (const Node& node : graph.nodes) {
    std::vector<std::string> outputs, inputs;
    for (const ValueId id : node.outputs) {
      const auto& shape = graph.values[id].shape;
      outputs.push_back(name(id) + (shape ? espalier::to_string(*shape) : "?"));
    }
    for (const ValueId id : node.inputs) inputs.push_back(name(id));
    result.push_back(fmt::format("{} = {}({})", fmt::join(outputs, ", "), full_op_name(node),
                                 fmt::join(inputs, ", ")));
  }
  return result;
}

inline const Weight* weight_named(const Graph& graph, std::string_view name) {
  for (const auto& [id, weight] : graph.weights) {
    if (graph.values[id].name == name) return &weight;
  }
  return nullptr;
}

}  // namespace espalier::nnef
