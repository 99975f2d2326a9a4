#pragma once

#include <functional>
#include <string_view>

#include "formats/nnef/language/document.h"
#include "lib/ir/model.h"

namespace espalier::nnef {

constexpr std::string_view kGraphFile = "graph.nnef", kQuantFile = "graph.quant";

/// The tensor file of a variable: LABEL.dat of the folder or archive, already checked against its
/// header.
using LoadTensor = std::function<Tensor(std::string_view label)>;

/// The graph in ONNX semantics (opset kNnefOpset). A weight is named by its label, everything else
/// by its identifier; names are unique.
///
/// Not translated  a node of domain "nnef": inputs are the tensors that it is called with in order
///                 of appearance, outputs its results, Node::extra the invocation with $0, $1, ...
///                 in place of the inputs (fill_invocation). Origin::extra then holds the extension
///                 lines and the fragments that those nodes need (parse_fragments reads it).
/// Free dimensions `extension tract_symbol N;` and then N in a shape: -1 with dimension name "N".
/// Quantization    a variable of integers with an entry in graph.quant is the f32 tensor that they
///                 stand for; any other tensor with an entry goes through the entry's operation.
/// Errors          Fault::kFormat with line:column: what the text or a tensor file does wrong;
///                 "graph.quant" is in front where an entry of that file is at fault.
Model translate(const Document& document, const LoadTensor& load);

}  // namespace espalier::nnef
