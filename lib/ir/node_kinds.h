#pragma once

#include <string_view>

#include "lib/ir/model.h"

namespace espalier {

/// Whether a node is an operator of ONNX itself, of no other domain.
inline bool is_default_domain(const Node& node) {
  return node.domain.empty() || node.domain == "ai.onnx";
}

/// Whether it is that one of them.
inline bool is_op(const Node& node, std::string_view op) {
  return node.op == op && is_default_domain(node);
}

inline bool is_loop(const Node& node) { return is_op(node, "Loop") || is_op(node, "Scan"); }

/// Whether an operator is a recurrent layer, with W and R as inputs 1 and 2.
inline bool is_recurrent(std::string_view op) { return op == "GRU" || op == "LSTM" || op == "RNN"; }

}  // namespace espalier
